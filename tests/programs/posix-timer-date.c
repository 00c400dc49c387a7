/* POSIX timers by the wall clock: those set for a date run out at that date, however long the program stood still
 * meanwhile, once and again and again; one set for a span of time and one at rest stay what they are. */
#include "check.h"

static timer_t make(void) {
    timer_t timer;
    struct sigevent none = {.sigev_notify = SIGEV_NONE}, *event = &none;
    MUST(timer_create(CLOCK_REALTIME, event, &timer));
    return timer;
}

static int64_t ns(struct timespec time) { return time.tv_sec * 1000000000ll + time.tv_nsec; }

/* Between these two moments of a clock it runs out: no time that this takes can spoil it. */
static void runs_out(clockid_t clock, timer_t timer, int64_t *from, int64_t *to, struct itimerspec *left) {
    struct timespec before, after;
    clock_gettime(clock, &before);
    MUST(timer_gettime(timer, left));
    clock_gettime(clock, &after);
    *from = ns(before) + ns(left->it_value);
    *to = ns(after) + ns(left->it_value);
}

int main(void) {
    timer_t once = make(), daily = make(), span = make(), rest = make(), told;
    time_t date = time(NULL) + 5000;
    MUST(timer_settime(once, TIMER_ABSTIME, &(struct itimerspec){.it_value = {date, 0}}, NULL));
    MUST(timer_settime(daily, TIMER_ABSTIME, &(struct itimerspec){{86400, 0}, {date + 1, 0}}, NULL));
    MUST(timer_settime(span, 0, &(struct itimerspec){.it_value = {5000, 0}}, NULL));
    struct sigevent signal = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 7};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(timer_create(CLOCK_REALTIME, &signal, &told));
    MUST(timer_settime(told, TIMER_ABSTIME, &(struct itimerspec){.it_value = {date + 2, 0}}, NULL));
    int64_t from, to, first, unused;
    struct itimerspec left;
    runs_out(CLOCK_MONOTONIC, span, &first, &unused, &left);
    ready();
    const struct { timer_t timer; time_t date; long interval; } dates[] = {{once, date, 0}, {daily, date + 1, 86400}, {told, date + 2, 0}};
    for (int i = 0; i < 3; i++) {
        runs_out(CLOCK_REALTIME, dates[i].timer, &from, &to, &left);
        int64_t wanted = dates[i].date * 1000000000ll;
        CHECK(from <= wanted && wanted <= to, "timer %d runs out %lld ns after its date", i, (long long)(from - wanted));
        CHECK(left.it_interval.tv_sec == dates[i].interval, "the interval of timer %d is %lld s", i, (long long)left.it_interval.tv_sec);
    }
    /* By the program's own clock it comes no earlier; another machine's wall clock may differ. */
    runs_out(CLOCK_MONOTONIC, span, &from, &to, &left);
    CHECK(to >= first && ns(left.it_value) <= 5000 * 1000000000ll, "the span is %lld s", (long long)left.it_value.tv_sec);
    MUST(timer_gettime(rest, &left));
    CHECK(ns(left.it_value) == 0, "the timer at rest runs");
    /* The date comes while it looks: it is told, with its value. */
    MUST(timer_settime(told, TIMER_ABSTIME, &(struct itimerspec){.it_value = {1, 0}}, NULL));
    siginfo_t info;
    while (sigwaitinfo(&set, &info) < 0) CHECK(errno == EINTR, "nothing comes");
    CHECK(info.si_value.sival_int == 7, "it comes with %d", info.si_value.sival_int);
    return passed();
}
