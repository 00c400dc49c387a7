/* A program that takes its system calls for itself (PR_SET_SYSCALL_USER_DISPATCH), as Wine does: while its switch
 * says so, each becomes a SIGSYS, before and after. */
#include "check.h"
#include <ucontext.h>
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char block;
static volatile int taken;
static volatile uint32_t go, done;

static void on_call(int number, siginfo_t *info, void *context) {
    (void)number;
    block = 0;
    taken = info->si_syscall;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4711;
}

static long call(long number) {
    long answer;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number) : "rcx", "r11", "memory");
    return answer;
}

static void *run(void *unused) {
    (void)unused;
    bool has = prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &block) == 0;
    CHECK(has || errno == EINVAL, "the test itself");
    /* The switch is on all the time that it waits, without any system call. */
    block = (char)has;
    done = 1;
    while (!go) {
    }
    long answer = call(SYS_getppid);
    block = 0;
    CHECK(!has || (answer == 4711 && taken == SYS_getppid), "the program no longer gets its calls: %ld", answer);
    CHECK(call(SYS_getppid) == getppid(), "with the switch off a call does not get through");
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSYS, &action, NULL));
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (!done) sched_yield();
    ready();
    go = 1;
    pthread_join(thread, NULL);
    return passed();
}
