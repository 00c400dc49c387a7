/* Threads that wait for signals: sigwaitinfo, sigtimedwait, sigsuspend with a mask of its own, pause. */
#include "check.h"

static volatile sig_atomic_t handled;
static void on_signal(int number) { handled = number; }
static _Atomic(pid_t) tids[3];
static pthread_t threads[3];

static sigset_t set_of(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    return set;
}

static void *waits(void *which) {
    size_t i = (size_t)which;
    sigset_t set = set_of(SIGRTMIN + 1 + (int)i), now;
    siginfo_t info = {0};
    tids[i] = (pid_t)syscall(SYS_gettid);
    if (i == 2) {
        sigset_t but;
        sigfillset(&but);
        sigdelset(&but, SIGRTMIN + 3);
        CHECK(sigsuspend(&but) < 0 && errno == EINTR && handled == SIGRTMIN + 3, "sigsuspend ended with %d", handled);
        pthread_sigmask(SIG_BLOCK, NULL, &now);
        CHECK(sigismember(&now, SIGRTMIN + 3) && !sigismember(&now, SIGTERM), "the mask from before is lost");
        return NULL;
    }
    /* A stop may end them with EINTR, as signal(7) says; then there is another wait. */
    int got;
    do got = i == 0 ? sigwaitinfo(&set, &info) : sigtimedwait(&set, &info, &(struct timespec){500, 0});
    while (got < 0 && errno == EINTR);
    CHECK(got == SIGRTMIN + 1 + (int)i && info.si_value.sival_int == 40 + (int)i, "wait %zu: signal %d, errno %d", i, got, errno);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGRTMIN + 3, &action, NULL);
    for (int i = 1; i < 4; i++) {
        sigset_t set = set_of(SIGRTMIN + i);
        MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    }
    for (size_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, waits, (void *)i);
    for (size_t i = 0; i < 3; i++)
        while (tids[i] == 0 || call_of(getpid(), tids[i]) != (i == 2 ? SYS_rt_sigsuspend : SYS_rt_sigtimedwait)) sched_yield();
    ready();
    for (int i = 0; i < 3; i++) MUST(pthread_sigqueue(threads[i], SIGRTMIN + 1 + i, (union sigval){.sival_int = 40 + i}));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    return passed();
}
