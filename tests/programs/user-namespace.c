/* A process in a user namespace of its own that calls its user as outside, with two threads more: its rights there
 * stay, and those of a thread that gave up some. What it may do with them it can still do. */
#include "namespaces.h"

static pthread_barrier_t barrier;
static char before[3][256];
static pid_t tids[3];

static void look(int which) {
    char now[256];
    rights(now, sizeof now);
    CHECK(strcmp(before[which], now) == 0, "thread %d had %s and has %s", which, before[which], now);
    CHECK(gettid() == tids[which], "thread %d was %d", gettid(), tids[which]);
}

static void *thread(void *argument) {
    int which = (int)(intptr_t)argument;
    if (which == 2) set_rights(1ull << CAP_SYS_ADMIN, 1ull << CAP_SYS_ADMIN | 1ull << CAP_NET_ADMIN, 0);
    rights(before[which], sizeof before[which]);
    tids[which] = gettid();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    look(which);
    return NULL;
}

static int body(void *argument) {
    char maps[2][128], now[128];
    new_user(0, getuid(), getgid());
    read_text("/proc/self/uid_map", maps[0], sizeof maps[0]);
    read_text("/proc/self/gid_map", maps[1], sizeof maps[1]);
    pthread_barrier_init(&barrier, NULL, 3);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, thread, (void *)(intptr_t)(i + 1));
    pthread_barrier_wait(&barrier);
    rights(before[0], sizeof before[0]);
    tids[0] = gettid();
    prepared(argument);
    look(0);
    read_text("/proc/self/uid_map", now, sizeof now);
    CHECK(strcmp(maps[0], now) == 0, "the map is %s", now);
    read_text("/proc/self/gid_map", now, sizeof now);
    CHECK(strcmp(maps[1], now) == 0, "the map of groups is %s", now);
    read_text("/proc/self/setgroups", now, sizeof now);
    CHECK(strcmp(now, "deny\n") == 0, "setgroups: %s", now);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    MUST(unshare(CLONE_NEWUTS));
    MUST(sethostname("mine", 4));
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    CHECK(!shares(pid, getpid(), "user"), "it is in no user namespace of its own");
    ready();
    CHECK(!shares(pid, getpid(), "user"), "it has come out of its user namespace");
    go_on(steps);
    ends_well(pid);
    return passed();
}
