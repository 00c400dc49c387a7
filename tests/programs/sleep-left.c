/* Sleeps that a freeze interrupts and that a signal ends afterwards: they say what is left of the whole,
 * neither of a part nor from the start again. On several clocks. */
#include "check.h"

static void on_signal(int number) { (void)number; }
static _Atomic(pid_t) tids[4];

static void *sleeps(void *which) {
    size_t i = (size_t)which;
    tids[i] = (pid_t)syscall(SYS_gettid);
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    struct timespec left = {-1, -1};
    int answer = i < 3 ? clock_nanosleep(clocks[i], 0, &(struct timespec){5000, 0}, &left)
                       : (nanosleep(&(struct timespec){5000, 0}, &left) < 0 ? errno : 0);
    CHECK(answer == EINTR, "sleep %zu ended with %d", i, answer);
    CHECK(left.tv_sec >= 4000 && left.tv_sec <= 5000, "sleep %zu: %lld s are left", i, (long long)left.tv_sec);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, sleeps, (void *)i);
    for (size_t i = 0; i < 4; i++)
        while (tids[i] == 0 || call_of(getpid(), tids[i]) != SYS_clock_nanosleep) sched_yield();
    ready();
    for (size_t i = 0; i < 4; i++) {
        while (call_of(getpid(), tids[i]) < 0) sched_yield();
        pthread_kill(threads[i], SIGUSR1);
    }
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return passed();
}
