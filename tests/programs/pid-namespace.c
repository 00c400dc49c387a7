/* A pid namespace of the program's own: numbers, parents, groups and sessions as its processes see them; threads, a
 * zombie, and what outside calls them all. Its maker goes on sending children there. */
#include "namespaces.h"

static struct steps *all[5];

/* What a process sees of itself. */
struct sight {
    pid_t pid, parent, group, session, thread;
};

static struct sight look(void) {
    return (struct sight){getpid(), getppid(), getpgrp(), getsid(0), gettid()};
}

static void same(const char *who, struct sight was) {
    struct sight now = look();
    CHECK(memcmp(&was, &now, sizeof now) == 0, "%s was %d below %d, group %d, session %d, thread %d; is %d %d %d %d %d",
          who, was.pid, was.parent, was.group, was.session, was.thread, now.pid, now.parent, now.group, now.session,
          now.thread);
}

static pthread_barrier_t barrier;

static void *thread(void *unused) {
    (void)unused;
    struct sight was = look();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    same("a thread", was);
    CHECK(tgkill(getpid(), gettid(), 0) == 0, "it does not find itself");
    return NULL;
}

static int threads(void *unused) {
    (void)unused;
    pthread_barrier_init(&barrier, NULL, 3);
    pthread_t ids[2];
    for (int i = 0; i < 2; i++) pthread_create(&ids[i], NULL, thread, NULL);
    pthread_barrier_wait(&barrier);
    struct sight was = look();
    prepared(all[1]);
    same("a process with threads", was);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) pthread_join(ids[i], NULL);
    return 0;
}

static int stay(void *unused) {
    (void)unused;
    return pause();
}

static int leader(void *unused) {
    (void)unused;
    MUST(setsid());
    pid_t group = child(stay, NULL);
    MUST(setpgid(group, group));
    struct sight was = look();
    CHECK(was.session == was.pid && was.group == was.pid, "it leads nothing");
    prepared(all[2]);
    same("a leader of a session", was);
    CHECK(getpgid(group) == group && getsid(group) == getpid(), "its child is elsewhere");
    end_child(group);
    return 0;
}

static int first(void *unused) {
    (void)unused;
    struct sight was = look();
    CHECK(was.pid == 1 && was.parent == 0, "the first is %d below %d", was.pid, was.parent);
    pid_t ended = fork();
    if (ended == 0) _exit(7);
    CHECK(ended == 2, "the second is %d", ended);
    siginfo_t info;
    MUST(waitid(P_PID, ended, &info, WEXITED | WNOWAIT));
    pid_t pids[2] = {child(threads, NULL), child(leader, NULL)};
    for (int i = 1; i < 3; i++) until_prepared(all[i]);
    prepared(all[0]);
    same("the first", was);
    int status;
    CHECK(waitpid(ended, &status, 0) == ended && WEXITSTATUS(status) == 7, "the zombie has %x", status);
    for (int i = 0; i < 2; i++) go_on(all[i + 1]);
    for (int i = 0; i < 2; i++) ends_well(pids[i]);
    /* The first of a namespace does not end by signals from within. */
    MUST(kill(1, SIGTERM));
    prepared(all[3]);
    return 0;
}

static int beside(void *unused) {
    (void)unused;
    struct sight was = look();
    CHECK(was.parent == 0 && was.pid > 1, "it is %d below %d", was.pid, was.parent);
    prepared(all[4]);
    same("a brother of the first", was);
    return 0;
}

static int maker(void *argument) {
    new_user(CLONE_NEWPID, 0, 0);
    pid_t one = child(first, NULL), two;
    until_prepared(all[0]);
    two = child(beside, NULL);
    until_prepared(all[4]);
    prepared(argument);
    CHECK(namespace_of(getpid(), "pid_for_children") == namespace_of(one, "pid"), "its children go elsewhere");
    CHECK(!shares(getpid(), one, "pid") && shares(two, one, "pid"), "they are in other namespaces");
    go_on(all[0]);
    until_prepared(all[3]);
    pid_t three = fork();
    if (three == 0) _exit(getppid() == 0 && getpid() > 1 ? 0 : 1);
    ends_well(three);
    go_on(all[4]);
    ends_well(two);
    go_on(all[3]);
    ends_well(one);
    return 0;
}

int main(void) {
    for (int i = 0; i < 5; i++) all[i] = new_steps();
    struct steps *steps = new_steps();
    pid_t pid = child(maker, steps);
    until_prepared(steps);
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
