/* Timer descriptors: one that has run out, one that repeats, one far off, one at rest. */
#include "check.h"
#include <sys/timerfd.h>

int main(void) {
    int due = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    int repeats = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    int far = MUST(timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC)), rest = MUST(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
    MUST(timerfd_settime(due, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL));
    MUST(timerfd_settime(repeats, 0, &(struct itimerspec){{0, 50000000}, {0, 50000000}}, NULL));
    MUST(timerfd_settime(far, 0, &(struct itimerspec){{7, 0}, {5000, 0}}, NULL));
    uint64_t ticks;
    read_all(repeats, &ticks, 8);
    ready();
    CHECK(read(due, &ticks, 8) == 8 && ticks == 1, "the timer that ran out says nothing");
    struct itimerspec left;
    MUST(timerfd_gettime(far, &left));
    CHECK(left.it_interval.tv_sec == 7, "the interval is %lld", (long long)left.it_interval.tv_sec);
    CHECK(left.it_value.tv_sec > 4000 && left.it_value.tv_sec <= 5000, "%lld s are left", (long long)left.it_value.tv_sec);
    MUST(timerfd_gettime(rest, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "the timer at rest runs");
    read_all(repeats, &ticks, 8);
    CHECK(ticks >= 1, "no ticks");
    int64_t start = now_ms();
    for (int i = 0; i < 4; i++) read_all(repeats, &ticks, 8);
    CHECK(now_ms() - start >= 100, "it ticks too fast");
    return passed();
}
