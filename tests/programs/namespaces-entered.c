/* Namespaces that a process entered later (setns), some of those of another one: who shares what with whom stays, and
 * what one changes the other sees. */
#include "namespaces.h"
#include <linux/nsfs.h>
#include <sys/ioctl.h>

static struct steps *steps[2];
static pid_t first;

static void enter(const char *kind, int flag) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", first, kind);
    int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
    MUST(setns(fd, flag));
    close(fd);
}

static int maker(void *unused) {
    (void)unused;
    new_user(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, 0, 0);
    prepared(steps[0]);
    char name[65] = {0};
    MUST(gethostname(name, sizeof name - 1));
    CHECK(strcmp(name, "of-both") == 0, "it does not see the name: %s", name);
    return 0;
}

static int visitor(void *unused) {
    (void)unused;
    enter("user", CLONE_NEWUSER);
    enter("uts", CLONE_NEWUTS);
    enter("net", CLONE_NEWNET);
    /* A network that is its own, owned by the namespace that it has entered. */
    MUST(unshare(CLONE_NEWIPC));
    prepared(steps[1]);
    MUST(sethostname("of-both", 7));
    CHECK(getuid() == 0, "it is %u", getuid());
    return 0;
}

static void look(pid_t other) {
    CHECK(shares(first, other, "user") && shares(first, other, "uts") && shares(first, other, "net"),
          "they are apart");
    CHECK(!shares(first, other, "ipc") && !shares(getpid(), other, "ipc"), "they share what they did not");
    CHECK(shares(getpid(), other, "mnt") && !shares(getpid(), other, "user"), "mnt or user is wrong");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/ipc", other);
    int fd = MUST(open(path, O_RDONLY | O_CLOEXEC)), owner = MUST(ioctl(fd, NS_GET_USERNS));
    struct stat stat_of;
    MUST(fstat(owner, &stat_of));
    CHECK(stat_of.st_ino == namespace_of(first, "user"), "another one owns it");
    close(fd);
    close(owner);
}

int main(void) {
    for (int i = 0; i < 2; i++) steps[i] = new_steps();
    first = child(maker, NULL);
    until_prepared(steps[0]);
    pid_t second = child(visitor, NULL);
    until_prepared(steps[1]);
    look(second);
    ready();
    look(second);
    go_on(steps[1]);
    ends_well(second);
    go_on(steps[0]);
    ends_well(first);
    return passed();
}
