/* Clocks through the vdso, asked all the time by a running thread: they never run backwards, and say
 * the same as the system call. */
#include "check.h"
#include <stdatomic.h>

static atomic_bool stop;
static _Atomic(uint64_t) asked;

static int64_t ns(clockid_t clock, bool real) {
    struct timespec now;
    if (real) syscall(SYS_clock_gettime, clock, &now);
    else clock_gettime(clock, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE};

static void *run(void *unused) {
    (void)unused;
    int64_t last[4] = {0};
    while (!stop) {
        for (int i = 0; i < 4; i++) {
            int64_t now = ns(clocks[i], false);
            CHECK(now >= last[i], "clock %d ran back by %lld ns", clocks[i], (long long)(last[i] - now));
            last[i] = now;
        }
        asked++;
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (asked == 0) sched_yield();
    int64_t before = ns(CLOCK_MONOTONIC, false);
    time_t date = time(NULL);
    ready();
    int64_t after = ns(CLOCK_MONOTONIC, false);
    CHECK(after > before, "the clock stands still");
    CHECK(after - before < 600 * 1000000000ll, "the clock jumped by %lld s", (long long)((after - before) / 1000000000));
    CHECK(time(NULL) >= date, "the date ran back");
    for (int i = 0; i < 3; i++) {
        int64_t one = ns(clocks[i], false), two = ns(clocks[i], true), three = ns(clocks[i], false);
        CHECK(one <= two && two <= three, "clock %d: vdso and system call differ", clocks[i]);
    }
    unsigned cpu;
    MUST(getcpu(&cpu, NULL));
    uint64_t count = asked;
    while (asked == count) sched_yield();
    stop = true;
    pthread_join(thread, NULL);
    return passed();
}
