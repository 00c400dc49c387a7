/* Namespaces and capabilities, for programs that make their own. */
#ifndef NAMESPACES_H
#define NAMESPACES_H

#include "check.h"
#include "proc.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_IS_SET 1
#define PR_CAP_AMBIENT_RAISE 2
#endif

/* A new user namespace (and whatever else the flags say) in which this user and group are called so. */
__attribute__((unused)) static void new_user(int flags, unsigned uid, unsigned gid) {
    unsigned own_uid = geteuid(), own_gid = getegid();
    MUST(unshare(CLONE_NEWUSER | flags));
    char text[64];
    /* In a pod it is forbidden already, and may not be said again. */
    int fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "deny", 4) < 0) CHECK(errno == EPERM, "setgroups can't be forbidden");
    if (fd >= 0) close(fd);
    snprintf(text, sizeof text, "%u %u 1\n", uid, own_uid);
    write_text("/proc/self/uid_map", text);
    snprintf(text, sizeof text, "%u %u 1\n", gid, own_gid);
    write_text("/proc/self/gid_map", text);
    CHECK(getuid() == uid && getgid() == gid, "mapped as %u:%u", getuid(), getgid());
}

/* The namespace of a kind that a process is in, by its inode. */
__attribute__((unused)) static ino_t namespace_of(pid_t pid, const char *kind) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
    struct stat stat_of;
    CHECK(stat(path, &stat_of) == 0, "%s can not be seen", path);
    return stat_of.st_ino;
}

__attribute__((unused)) static bool shares(pid_t a, pid_t b, const char *kind) {
    return namespace_of(a, kind) == namespace_of(b, kind);
}

/* What this thread has: text of its five sets, secure bits, user and group. */
__attribute__((unused)) static void rights(char *text, size_t size) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    MUST(syscall(SYS_capget, &header, data));
    unsigned long long bounding = 0, ambient = 0;
    for (int bit = 0; bit < 64; bit++) {
        if (prctl(PR_CAPBSET_READ, bit, 0, 0, 0) == 1) bounding |= 1ull << bit;
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, bit, 0, 0) == 1) ambient |= 1ull << bit;
    }
    snprintf(text, size, "e %x%08x p %x%08x i %x%08x b %llx a %llx s %x u %d:%d g %d:%d n %d", data[1].effective,
             data[0].effective, data[1].permitted, data[0].permitted, data[1].inheritable, data[0].inheritable,
             bounding, ambient, prctl(PR_GET_SECUREBITS), getuid(), geteuid(), getgid(), getegid(),
             prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

/* Sets effective, permitted and inheritable. */
__attribute__((unused)) static void set_rights(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };
    MUST(syscall(SYS_capset, &header, data));
}

/* A child that prepares, says so, waits until it is told, and checks; its body is given a place for both. */
struct steps {
    int told[2], done[2];
};

__attribute__((unused)) static struct steps *new_steps(void) {
    struct steps *steps = malloc(sizeof *steps);
    MUST(pipe(steps->told));
    MUST(pipe(steps->done));
    return steps;
}

/* In the child: prepared; returns when it is to go on. */
__attribute__((unused)) static void prepared(struct steps *steps) {
    char byte;
    write_all(steps->done[1], "x", 1);
    read_all(steps->told[0], &byte, 1);
}

/* In the parent. */
__attribute__((unused)) static void until_prepared(struct steps *steps) {
    char byte;
    read_all(steps->done[0], &byte, 1);
}

__attribute__((unused)) static void go_on(struct steps *steps) { write_all(steps->told[1], "x", 1); }

__attribute__((unused)) static void ends_well(pid_t pid) {
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d ended with %x", pid, status);
}

#endif
