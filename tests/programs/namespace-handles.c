/* Handles of namespaces: of the session's own, of a child's user, network, host name and pid namespaces, and one that was
 * sent through a socket; each still stands for the same namespace, and one can be entered through it. */
#include "namespaces.h"
#include <sys/utsname.h>

static const char *const kinds[] = {"user", "net", "ipc", "uts", "pid", "mnt"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int handle(pid_t pid, const char *kind) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0, "%s: %s", path, strerror(errno));
    return fd;
}

static ino_t inode(int fd) {
    struct stat stat_of;
    MUST(fstat(fd, &stat_of));
    return stat_of.st_ino;
}

static int inside(void *argument) {
    MUST(sethostname("inside", 6));
    prepared(argument);
    return 0;
}

/* Makes the namespaces, then a child that is in all of them. */
static int outer(void *argument) {
    struct steps *steps = argument, *inner = new_steps();
    new_user(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWPID, 0, 0);
    pid_t pid = child(inside, inner);
    until_prepared(inner);
    prepared(steps);
    go_on(inner);
    ends_well(pid);
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(outer, steps);
    until_prepared(steps);
    int own[KINDS], others[KINDS];
    for (int i = 0; i < KINDS; i++) own[i] = handle(getpid(), kinds[i]);
    for (int i = 0; i < KINDS; i++) others[i] = handle(pid, strcmp(kinds[i], "pid") ? kinds[i] : "pid_for_children");
    int again = handle(pid, "uts");
    ready();
    for (int i = 0; i < KINDS; i++) {
        CHECK(inode(own[i]) == namespace_of(getpid(), kinds[i]), "the handle of its %s namespace is another's", kinds[i]);
        const char *kind = strcmp(kinds[i], "pid") ? kinds[i] : "pid_for_children";
        CHECK(inode(others[i]) == namespace_of(pid, kind), "the handle of the child's %s is another's", kinds[i]);
        CHECK(fcntl(others[i], F_GETFD) == FD_CLOEXEC, "%s is not closed on exec", kinds[i]);
    }
    CHECK(inode(again) == inode(others[3]) && again != others[3], "the second handle is another's");
    /* In through the handles: its user namespace gives the right to enter the others. */
    pid_t visitor = fork();
    MUST(visitor);
    if (visitor == 0) {
        struct utsname names;
        MUST(setns(others[0], CLONE_NEWUSER));
        MUST(setns(again, CLONE_NEWUTS));
        MUST(uname(&names));
        CHECK(strcmp(names.nodename, "inside") == 0, "the host is %s", names.nodename);
        _exit(0);
    }
    ends_well(visitor);
    go_on(steps);
    ends_well(pid);
    return passed();
}
