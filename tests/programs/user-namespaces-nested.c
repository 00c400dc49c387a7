/* User namespaces in one another: each below the one that it was below, with the right over those further down and
 * over what they own; one of them without a map yet, which the one above writes afterwards. */
#include "namespaces.h"
#include <linux/nsfs.h>
#include <sys/ioctl.h>

static struct steps *steps[3];
static pid_t *pids;

static ino_t parent_of(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    int own = MUST(open(path, O_RDONLY | O_CLOEXEC));
    int parent = MUST(ioctl(own, NS_GET_PARENT));
    struct stat stat_of;
    MUST(fstat(parent, &stat_of));
    close(own);
    close(parent);
    return stat_of.st_ino;
}

static int bare(void *unused) {
    (void)unused;
    MUST(unshare(CLONE_NEWUSER));
    CHECK(getuid() == 65534, "it is %u without a map", getuid());
    prepared(steps[2]);
    CHECK(getuid() == 5, "it is %u", getuid());
    return 0;
}

static int inner(void *unused) {
    (void)unused;
    new_user(CLONE_NEWUTS, 7, 8);
    MUST(sethostname("inner", 5));
    prepared(steps[1]);
    char name[65] = {0};
    MUST(gethostname(name, sizeof name - 1));
    CHECK(strcmp(name, "renamed") == 0, "the one above could not name it: %s", name);
    CHECK(getuid() == 7 && getgid() == 8, "it is %u:%u", getuid(), getgid());
    return 0;
}

static int outer(void *unused) {
    (void)unused;
    new_user(0, 0, 0);
    pids[1] = child(inner, NULL);
    pids[2] = child(bare, NULL);
    until_prepared(steps[1]);
    until_prepared(steps[2]);
    prepared(steps[0]);
    for (int i = 1; i < 3; i++)
        CHECK(parent_of(pids[i]) == namespace_of(getpid(), "user"), "%d is below another one", i);
    /* It has all rights in those below. */
    pid_t visitor = fork();
    CHECK(visitor >= 0, "no child");
    if (visitor == 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/uts", pids[1]);
        MUST(setns(MUST(open(path, O_RDONLY | O_CLOEXEC)), CLONE_NEWUTS));
        MUST(sethostname("renamed", 7));
        _exit(0);
    }
    ends_well(visitor);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/uid_map", pids[2]);
    write_text(path, "5 0 1\n");
    for (int i = 1; i < 3; i++) go_on(steps[i]);
    for (int i = 1; i < 3; i++) ends_well(pids[i]);
    return 0;
}

int main(void) {
    for (int i = 0; i < 3; i++) steps[i] = new_steps();
    pids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pids != MAP_FAILED, "no shared memory");
    pids[0] = child(outer, NULL);
    until_prepared(steps[0]);
    ready();
    CHECK(parent_of(pids[0]) == namespace_of(getpid(), "user"), "the outer one is not below the session's");
    go_on(steps[0]);
    ends_well(pids[0]);
    return passed();
}
