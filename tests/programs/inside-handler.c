/* A thread taken in the middle of a signal handler: it goes back to where it was, with the registers it had there. */
#include "check.h"
#include <stdatomic.h>

static atomic_bool inside, leave;

static void on_signal(int number) {
    (void)number;
    /* Wide registers in here are others than out there. */
    double x = 0;
    inside = true;
    while (!leave) x += 1.5;
    if (x < 0) abort();
}

static void *run(void *unused) {
    (void)unused;
    uint64_t a = 0x1111, b = 0x2222;
    double x = 1.25;
    __asm__ volatile(
        "movsd %2, %%xmm9\n mov $0x3333, %%r13\n mov $0x4444, %%r14\n"
        "1: cmpb $0, %3\n je 1b\n 2: cmpb $0, %4\n je 2b\n"
        "movsd %%xmm9, %2\n mov %%r13, %0\n mov %%r14, %1\n"
        : "+m"(a), "+m"(b), "+m"(x) : "m"(inside), "m"(leave) : "r13", "r14", "xmm9", "memory", "cc");
    CHECK(a == 0x3333 && b == 0x4444 && x == 1.25, "registers changed: %lx %lx %f", a, b, x);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGRTMIN + 4, &action, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_kill(thread, SIGRTMIN + 4);
    while (!inside) sched_yield();
    ready();
    leave = true;
    pthread_join(thread, NULL);
    return passed();
}
