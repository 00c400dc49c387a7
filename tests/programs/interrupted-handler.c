/* A freeze inside a handler that interrupted a call: afterwards the call says EINTR where it should, and
 * nanosleep says what is left. */
#include "check.h"
#include <poll.h>
#include <stdatomic.h>

static atomic_int inside;
static atomic_bool leave;
static int ends[2];
static _Atomic(pid_t) tids[4];

static void on_signal(int number) {
    (void)number;
    inside++;
    while (!leave) sched_yield();
}

static void *calls(void *which) {
    size_t i = (size_t)which;
    tids[i] = (pid_t)syscall(SYS_gettid);
    struct pollfd fd = {ends[0], POLLIN, 0};
    struct timespec left = {4999, 0};
    char byte;
    long answer = i == 0   ? poll(&fd, 1, 500000)
                  : i == 1 ? read(ends[0], &byte, 1)
                  : i == 2 ? nanosleep(&(struct timespec){5000, 0}, &left)
                           : pause();
    CHECK(answer < 0 && errno == EINTR, "call %zu was not interrupted: %ld", i, answer);
    CHECK(left.tv_sec > 4000 && left.tv_sec <= 5000, "%lld s are left", (long long)left.tv_sec);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    MUST(pipe(ends));
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, calls, (void *)i);
    for (size_t i = 0; i < 4; i++) {
        static const long wanted[] = {SYS_poll, SYS_read, SYS_clock_nanosleep, SYS_pause};
        while (tids[i] == 0 || call_of(getpid(), tids[i]) != wanted[i]) sched_yield();
        pthread_kill(threads[i], SIGUSR1);
    }
    while (inside != 4) sched_yield();
    ready();
    leave = true;
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return passed();
}
