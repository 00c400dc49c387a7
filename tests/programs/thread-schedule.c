/* Each thread's own scheduling: class, reset-on-fork, nice value, CPUs, I/O priority, timer slack, name. A thread that
 * never asked for CPUs has those of the session's first process. */
#include "proc.h"
#include <sched.h>
#include <sys/resource.h>

enum { WHO_PROCESS = 1, CLASS_IDLE = 3, CLASS_BEST = 2 };
static pthread_barrier_t before, after;

static cpu_set_t cpus_of(pid_t tid) {
    cpu_set_t set;
    MUST(sched_getaffinity(tid, sizeof set, &set));
    return set;
}

static const struct { int policy, nice, io, slack; const char *name; } wanted[] = {
    {SCHED_BATCH, 3, CLASS_BEST << 13 | 6, 70000, "batch"},
    {SCHED_IDLE, 0, CLASS_IDLE << 13, 0, "idle (1)"},
    {SCHED_OTHER | SCHED_RESET_ON_FORK, 5, CLASS_BEST << 13 | 1, 1, "reset"},
    {SCHED_OTHER, 9, 0, 90000, "\xc3\xa9t\xc3\xa9"},
};

static void *run(void *number) {
    int i = (int)(intptr_t)number;
    pid_t tid = gettid();
    MUST(sched_setscheduler(tid, wanted[i].policy, &(struct sched_param){0}));
    MUST(setpriority(PRIO_PROCESS, (id_t)tid, wanted[i].nice));
    if (wanted[i].io) MUST(syscall(SYS_ioprio_set, WHO_PROCESS, 0, wanted[i].io));
    long was = prctl(PR_GET_TIMERSLACK);
    if (wanted[i].slack) MUST(prctl(PR_SET_TIMERSLACK, wanted[i].slack));
    MUST(prctl(PR_SET_NAME, wanted[i].name));
    cpu_set_t mine = cpus_of(tid);
    if (i == 1) {
        CPU_ZERO(&mine);
        CPU_SET(0, &mine);
        MUST(sched_setaffinity(tid, sizeof mine, &mine));
    }
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(sched_getscheduler(tid) == wanted[i].policy, "thread %d has class %x", i, sched_getscheduler(tid));
    CHECK(getpriority(PRIO_PROCESS, (id_t)tid) == wanted[i].nice, "thread %d has nice value %d", i, getpriority(PRIO_PROCESS, (id_t)tid));
    long io = syscall(SYS_ioprio_get, WHO_PROCESS, 0);
    CHECK(!wanted[i].io || io == wanted[i].io, "thread %d has I/O priority %lx", i, io);
    long slack = prctl(PR_GET_TIMERSLACK);
    CHECK(slack == (wanted[i].slack ? wanted[i].slack : was), "thread %d has timer slack %ld", i, slack);
    char name[17] = {0};
    MUST(prctl(PR_GET_NAME, name));
    CHECK(strcmp(name, wanted[i].name) == 0, "thread %d is called %s", i, name);
    cpu_set_t now = cpus_of(tid), others = cpus_of(1);
    CHECK(CPU_EQUAL(&now, i == 1 ? &mine : &others), "thread %d has other CPUs", i);
    return NULL;
}

int main(void) {
    pthread_t threads[4];
    pthread_barrier_init(&before, NULL, 5);
    pthread_barrier_init(&after, NULL, 5);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i);
    pthread_barrier_wait(&before);
    ready();
    cpu_set_t now = cpus_of(0), others = cpus_of(1);
    CHECK(CPU_EQUAL(&now, &others), "the main thread got other CPUs than the session");
    CHECK(getpriority(PRIO_PROCESS, 0) == 0 && sched_getscheduler(0) == SCHED_OTHER, "the main thread got another's");
    CHECK(syscall(SYS_ioprio_get, WHO_PROCESS, 0) >> 13 != CLASS_IDLE, "the main thread got another's I/O priority");
    pthread_barrier_wait(&after);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return passed();
}
