/* Timers that count CPU time: of the process, of a thread, ITIMER_VIRTUAL and ITIMER_PROF, and one for a thread
 * alone. They fire after the work that was left, and not before. */
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t fired[5];
static volatile pid_t by;

static void on_timer(int number, siginfo_t *info, void *context) {
    (void)context;
    if (number == SIGVTALRM) fired[0]++;
    else if (number == SIGPROF) fired[1]++;
    else fired[info->si_value.sival_int]++, by = gettid();
}

/* Burns CPU time of this thread. */
static void burn(int ms) {
    int64_t end = clock_ms(CLOCK_THREAD_CPUTIME_ID) + ms;
    while (clock_ms(CLOCK_THREAD_CPUTIME_ID) < end) {
    }
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGVTALRM, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    sigaction(SIGRTMIN, &action, NULL);
    struct itimerval interval = {.it_value = {0, 600000}};
    MUST(setitimer(ITIMER_VIRTUAL, &interval, NULL));
    MUST(setitimer(ITIMER_PROF, &interval, NULL));
    clockid_t clocks[3] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_PROCESS_CPUTIME_ID};
    timer_t timers[3];
    for (int i = 0; i < 3; i++) {
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 2 + i};
        if (i == 2) {
            event.sigev_notify = SIGEV_THREAD_ID;
            event._sigev_un._tid = gettid();
        }
        MUST(timer_create(clocks[i], &event, &timers[i]));
        MUST(timer_settime(timers[i], 0, &(struct itimerspec){.it_value = {0, 600000000}}, NULL));
    }
    burn(100);
    for (int i = 0; i < 5; i++) CHECK(!fired[i], "the test itself");
    ready();
    for (int i = 0; i < 5; i++) CHECK(!fired[i], "timer %d fired while nothing was done", i);
    for (int i = 0; i < 3; i++) {
        struct itimerspec left;
        MUST(timer_gettime(timers[i], &left));
        CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec > 0, "timer %d has %ld s left", i, left.it_value.tv_sec);
        CHECK(left.it_value.tv_nsec <= 501000000, "timer %d begins anew: %ld ns are left", i, left.it_value.tv_nsec);
    }
    int64_t start = clock_ms(CLOCK_THREAD_CPUTIME_ID);
    while (!(fired[0] && fired[1] && fired[2] && fired[3] && fired[4]))
        CHECK(clock_ms(CLOCK_THREAD_CPUTIME_ID) < start + 20000, "not all fired: %d %d %d %d %d", fired[0], fired[1], fired[2], fired[3], fired[4]);
    CHECK(by == gettid(), "another thread was told");
    return passed();
}
