/* The three interval timers and alarm(). */
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t alarms;
static void on_alarm(int number) { (void)number; alarms++; }

int main(void) {
    signal(SIGALRM, on_alarm);
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){{0, 60000}, {0, 60000}}, NULL));
    MUST(setitimer(ITIMER_VIRTUAL, &(struct itimerval){{5, 0}, {500, 0}}, NULL));
    MUST(setitimer(ITIMER_PROF, &(struct itimerval){{6, 0}, {600, 0}}, NULL));
    ready();
    struct itimerval left;
    MUST(getitimer(ITIMER_REAL, &left));
    CHECK(left.it_interval.tv_usec == 60000, "the interval is %ld µs", (long)left.it_interval.tv_usec);
    MUST(getitimer(ITIMER_VIRTUAL, &left));
    CHECK(left.it_interval.tv_sec == 5 && left.it_value.tv_sec > 400 && left.it_value.tv_sec <= 500, "virtual: %ld s", (long)left.it_value.tv_sec);
    MUST(getitimer(ITIMER_PROF, &left));
    CHECK(left.it_interval.tv_sec == 6 && left.it_value.tv_sec > 500 && left.it_value.tv_sec <= 600, "profiling: %ld s", (long)left.it_value.tv_sec);
    int seen = alarms;
    while (alarms < seen + 3) pause();
    return passed();
}
