/* Processes in a pid namespace that lost their parents belong to its first one, also in sessions and groups whose leaders
 * have ended; and a group that began outside, which has no number within, is kept. */
#include "namespaces.h"

struct seen {
    pid_t pid, parent, group, session;
};
static struct shared {
    struct seen seen[3];
    pid_t outside[3];
} *shared;
static struct steps *steps[4];

static void wait_for_parent(pid_t parent) {
    while (getppid() != parent) usleep(1000);
}

static struct seen look(void) { return (struct seen){getpid(), getppid(), getpgrp(), getsid(0)}; }

static void orphan(int which) {
    wait_for_parent(1);
    shared->seen[which] = look();
    prepared(steps[which]);
    struct seen now = look(), *was = &shared->seen[which];
    CHECK(memcmp(&now, was, sizeof now) == 0, "orphan %d: %d below %d, group %d, session %d; is %d %d %d %d", which,
          was->pid, was->parent, was->group, was->session, now.pid, now.parent, now.group, now.session);
    _exit(0);
}

/* A child that bears one and ends. */
static void leave_behind(int which, bool session, bool group) {
    pid_t between = fork();
    CHECK(between >= 0, "no child");
    if (between == 0) {
        if (session) MUST(setsid());
        if (group) MUST(setpgid(0, 0));
        if (fork() == 0) orphan(which);
        _exit(0);
    }
    ends_well(between);
}

static int first(void *unused) {
    (void)unused;
    CHECK(getpid() == 1 && getpgrp() == 0, "the first is %d in group %d", getpid(), getpgrp());
    leave_behind(0, false, false);
    leave_behind(1, true, false);
    leave_behind(2, false, true);
    for (int i = 0; i < 3; i++) until_prepared(steps[i]);
    prepared(steps[3]);
    CHECK(getpgrp() == 0, "the first is in group %d", getpgrp());
    for (int i = 0; i < 3; i++) go_on(steps[i]);
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t pid = MUST(wait(&status));
        CHECK(status == 0, "orphan %d ended with %x", pid, status);
    }
    return 0;
}

static int maker(void *argument) {
    MUST(setpgid(0, 0));
    new_user(CLONE_NEWPID, getuid(), getgid());
    pid_t pid = child(first, NULL);
    until_prepared(steps[3]);
    prepared(argument);
    CHECK(getpgid(pid) == getpgrp(), "the first is in another group");
    go_on(steps[3]);
    ends_well(pid);
    return 0;
}

int main(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "no shared memory");
    for (int i = 0; i < 4; i++) steps[i] = new_steps();
    struct steps *own = new_steps();
    pid_t pid = child(maker, own);
    until_prepared(own);
    ready();
    go_on(own);
    ends_well(pid);
    return passed();
}
