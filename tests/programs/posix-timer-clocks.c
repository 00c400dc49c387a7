/* A POSIX timer on every clock, with every way to tell: signal, thread, none; CPU time of process and thread. */
#include "check.h"

static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID,
                                   CLOCK_THREAD_CPUTIME_ID};
enum { CLOCKS = sizeof clocks / sizeof *clocks };

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 4);
    sigaddset(&set, SIGRTMIN + 5);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    timer_t far[CLOCKS], silent[CLOCKS], process, absolute;
    for (int i = 0; i < CLOCKS; i++) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
        MUST(timer_create(clocks[i], &event, &far[i]));
        MUST(timer_settime(far[i], 0, &(struct itimerspec){{i + 1, 0}, {5000 + i, 0}}, NULL));
        event.sigev_notify = SIGEV_NONE;
        MUST(timer_create(clocks[i], &event, &silent[i]));
        MUST(timer_settime(silent[i], 0, &(struct itimerspec){{0, 0}, {7000 + i, 0}}, NULL));
    }
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5};
    event.sigev_value.sival_int = 77;
    MUST(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &process));
    MUST(timer_settime(process, 0, &(struct itimerspec){.it_value = {0, 300000000}}, NULL));
    event.sigev_value.sival_int = 78;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    now.tv_sec += 4000;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &absolute));
    MUST(timer_settime(absolute, TIMER_ABSTIME, &(struct itimerspec){.it_value = now}, NULL));
    ready();
    struct itimerspec left;
    for (int i = 0; i < CLOCKS; i++) {
        MUST(timer_gettime(far[i], &left));
        CHECK(left.it_interval.tv_sec == i + 1 && left.it_value.tv_sec > 4000 && left.it_value.tv_sec <= 5000 + i,
              "clock %d: %lld s are left, interval %lld", clocks[i], (long long)left.it_value.tv_sec, (long long)left.it_interval.tv_sec);
        MUST(timer_gettime(silent[i], &left));
        CHECK(left.it_interval.tv_sec == 0 && left.it_value.tv_sec > 6000 && left.it_value.tv_sec <= 7000 + i,
              "clock %d, silent: %lld s are left", clocks[i], (long long)left.it_value.tv_sec);
    }
    /* CPU time passes while it is used, not while it sleeps or travels. */
    MUST(timer_gettime(far[4], &left));
    CHECK(left.it_value.tv_sec >= 5000, "the CPU clock went on: %lld s are left", (long long)left.it_value.tv_sec);
    MUST(timer_gettime(absolute, &left));
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    int64_t off = (then.tv_sec + left.it_value.tv_sec) - now.tv_sec;
    CHECK(off >= -1 && off <= 1, "the absolute timer is off by %lld s", (long long)off);
    siginfo_t info;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 5);
    int64_t start = now_ms();
    while (sigtimedwait(&one, &info, &(struct timespec){0, 0}) < 0) CHECK(now_ms() - start < 50000, "the CPU timer never fires");
    CHECK(info.si_value.sival_int == 77 && info.si_code == SI_TIMER, "value %d", info.si_value.sival_int);
    return passed();
}
