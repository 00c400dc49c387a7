/* POSIX timers that have fired while their signal is blocked: each signal comes once, with its value; a
 * repeating one keeps its pace and goes on to count what is missed; one that fired once does not fire again. */
#include "check.h"

static void await(int number) {
    sigset_t now;
    do {
        sched_yield();
        MUST(sigpending(&now));
    } while (!sigismember(&now, number));
}

static int take(int number, siginfo_t *info, int seconds) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    int got;
    while ((got = sigtimedwait(&one, info, &(struct timespec){seconds, 0})) < 0 && errno == EINTR) {
    }
    return got;
}

int main(void) {
    int once = SIGRTMIN + 1, often = SIGRTMIN + 2;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, once);
    sigaddset(&set, often);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    timer_t one, many;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = once};
    event.sigev_value.sival_int = 11;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &one));
    event.sigev_signo = often;
    event.sigev_value.sival_int = 22;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &many));
    MUST(timer_settime(one, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL));
    MUST(timer_settime(many, 0, &(struct itimerspec){{0, 20000000}, {0, 20000000}}, NULL));
    await(once);
    await(often);
    ready();
    siginfo_t info;
    CHECK(take(once, &info, 0) == once && info.si_value.sival_int == 11 && info.si_code == SI_TIMER, "the signal is lost");
    CHECK(take(once, &info, 0) < 0, "it came twice");
    struct itimerspec left;
    MUST(timer_gettime(one, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "the timer that fired runs again");
    CHECK(take(often, &info, 10) == often && info.si_value.sival_int == 22 && info.si_code == SI_TIMER, "the other is lost");
    int64_t start = now_ms();
    for (int i = 0; i < 4; i++) CHECK(take(often, &info, 10) == often, "it fires no more");
    /* Nobody looks for a while: the rest is counted. */
    while (now_ms() - start < 300) sched_yield();
    CHECK(take(often, &info, 10) == often, "it fires no more");
    int overrun = info.si_overrun;
    CHECK(overrun >= 5 && overrun < 3000, "it missed %d", overrun);
    MUST(timer_delete(many));
    return passed();
}
