/* A timer on the CPU time of a thread, in a process with several: the kernel does not say of which, so it is
 * refused, and the timer goes on. */
#include "check.h"

static int go[2];
static void *waits(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    return NULL;
}

int main(void) {
    MUST(pipe(go));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, waits, NULL);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
    MUST(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer));
    MUST(timer_settime(timer, 0, &(struct itimerspec){.it_value = {0, 400000000}}, NULL));
    expect_refusal("timer on the CPU time of one of its threads");
    ready();
    int64_t end = now_ms() + 40000;
    while (sigtimedwait(&set, NULL, &(struct timespec){0, 0}) < 0) CHECK(now_ms() < end, "the timer is lost");
    write_all(go[1], "x", 1);
    pthread_join(thread, NULL);
    return passed();
}
