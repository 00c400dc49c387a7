/* Long queues of real-time signals, more than fit any one look: their order within each number, and the
 * order of numbers, lowest first. */
#include "check.h"

enum { MANY = 300 };

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    int numbers[] = {SIGRTMIN + 9, SIGRTMIN + 1, SIGRTMAX};
    for (int i = 0; i < 3; i++) sigaddset(&set, numbers[i]);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    for (int value = 0; value < MANY; value++)
        for (int i = 0; i < 3; i++) MUST(sigqueue(getpid(), numbers[i], (union sigval){.sival_int = value * 3 + i}));
    ready();
    int order[] = {1, 0, 2};
    siginfo_t info;
    for (int i = 0; i < 3; i++)
        for (int value = 0; value < MANY; value++) {
            int number = sigtimedwait(&set, &info, &(struct timespec){0, 0});
            CHECK(number == numbers[order[i]], "signal %d came instead of %d, number %d", number, numbers[order[i]], value);
            CHECK(info.si_value.sival_int == value * 3 + order[i], "value %d came instead of %d", info.si_value.sival_int,
                  value * 3 + order[i]);
        }
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0, 0}) < 0 && errno == EAGAIN, "a signal too many");
    return passed();
}
