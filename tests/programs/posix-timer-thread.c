/* timer_create with SIGEV_THREAD: the C library's helper thread gets the signal and calls. */
#include "check.h"
#include <stdatomic.h>

static atomic_int calls[2];
static void on_timer(union sigval value) { calls[value.sival_int]++; }

int main(void) {
    timer_t timers[2];
    for (int i = 0; i < 2; i++) {
        struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_timer};
        event.sigev_value.sival_int = i;
        MUST(timer_create(i ? CLOCK_MONOTONIC : CLOCK_BOOTTIME, &event, &timers[i]));
    }
    MUST(timer_settime(timers[0], 0, &(struct itimerspec){{0, 30000000}, {0, 30000000}}, NULL));
    while (calls[0] == 0) sched_yield();
    ready();
    int seen = calls[0];
    while (calls[0] < seen + 3) sched_yield();
    CHECK(calls[1] == 0, "a timer that was never set fired");
    MUST(timer_settime(timers[1], 0, &(struct itimerspec){.it_value = {0, 1000000}}, NULL));
    while (calls[1] == 0) sched_yield();
    MUST(timer_delete(timers[0]));
    MUST(timer_delete(timers[1]));
    return passed();
}
