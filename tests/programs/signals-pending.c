/* Signals that were sent and are blocked: to the process and to a thread, in order, with values. */
#include "check.h"

static pthread_barrier_t before, after;
static pid_t tid;

static void take(int number, int value, const char *whose) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, number);
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) == number, "%s: signal %d is lost", whose, number);
    CHECK(info.si_value.sival_int == value && info.si_code == SI_QUEUE && info.si_pid == getpid(),
          "%s: signal %d came with value %d, code %d, pid %d", whose, number, info.si_value.sival_int, info.si_code,
          info.si_pid);
}

static void *run(void *unused) {
    (void)unused;
    tid = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    take(SIGRTMIN + 3, 31, "thread");
    take(SIGRTMIN + 3, 32, "thread");
    return NULL;
}

int main(void) {
    sigset_t all;
    sigfillset(&all);
    MUST(sigprocmask(SIG_BLOCK, &all, NULL));
    pthread_t thread;
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    for (int value = 21; value <= 23; value++)
        MUST(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = value}));
    for (int value = 31; value <= 32; value++) {
        siginfo_t info = {.si_code = SI_QUEUE};
        info.si_pid = getpid();
        info.si_uid = getuid();
        info.si_value.sival_int = value;
        MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, SIGRTMIN + 3, &info));
    }
    MUST(kill(getpid(), SIGHUP));
    ready();
    sigset_t waiting;
    sigpending(&waiting);
    CHECK(sigismember(&waiting, SIGHUP) && sigismember(&waiting, SIGRTMIN + 2), "signals are lost");
    CHECK(!sigismember(&waiting, SIGRTMIN + 3), "a thread's signal became the process's");
    for (int value = 21; value <= 23; value++) take(SIGRTMIN + 2, value, "process");
    sigpending(&waiting);
    CHECK(!sigismember(&waiting, SIGRTMIN + 2), "a signal too many");
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
