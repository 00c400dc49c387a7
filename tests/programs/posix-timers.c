/* POSIX timers: ids, what is left, intervals, signals to the process and to a thread. */
#include "check.h"

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 4);
    sigaddset(&set, SIGRTMIN + 5);
    sigprocmask(SIG_BLOCK, &set, NULL);
    timer_t dropped, far, repeats, to_thread;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
    MUST(timer_create(CLOCK_MONOTONIC, &event, &dropped));
    event.sigev_value.sival_int = 1;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &far));
    event.sigev_value.sival_int = 2;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &repeats));
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    event.sigev_signo = SIGRTMIN + 5;
    event.sigev_value.sival_int = 3;
    MUST(timer_create(CLOCK_BOOTTIME, &event, &to_thread));
    MUST(timer_delete(dropped));
    MUST(timer_settime(far, 0, &(struct itimerspec){{9, 0}, {4000, 0}}, NULL));
    MUST(timer_settime(repeats, 0, &(struct itimerspec){{0, 40000000}, {0, 40000000}}, NULL));
    MUST(timer_settime(to_thread, 0, &(struct itimerspec){{0, 0}, {0, 300000000}}, NULL));
    ready();
    struct itimerspec left;
    MUST(timer_gettime(far, &left));
    CHECK(left.it_interval.tv_sec == 9 && left.it_value.tv_sec > 3000 && left.it_value.tv_sec <= 4000,
          "%lld s are left", (long long)left.it_value.tv_sec);
    siginfo_t info;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 5);
    int number;
    while ((number = sigtimedwait(&one, &info, &(struct timespec){10, 0})) < 0 && errno == EINTR) {
    }
    CHECK(number == SIGRTMIN + 5 && info.si_code == SI_TIMER && info.si_value.sival_int == 3, "the thread's timer is lost");
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 4);
    for (int i = 0; i < 3; i++) {
        while ((number = sigtimedwait(&one, &info, &(struct timespec){10, 0})) < 0 && errno == EINTR) {
        }
        CHECK(number == SIGRTMIN + 4 && info.si_value.sival_int == 2, "the repeating timer is lost");
    }
    CHECK(timer_gettime(dropped, &left) < 0, "a deleted timer is back");
    MUST(timer_delete(far));
    MUST(timer_delete(repeats));
    MUST(timer_delete(to_thread));
    return passed();
}
