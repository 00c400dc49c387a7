/* Alternate signal stacks, one of each thread; and a freeze while a handler runs on one. */
#include "check.h"
#include <stdatomic.h>

static char stacks[2][65536];
static pthread_barrier_t before;
static atomic_int inside;
static atomic_bool leave;

static bool on_stack(int which) {
    char here;
    return &here >= stacks[which] && &here < stacks[which] + sizeof stacks[which];
}

static void on_signal(int number) {
    (void)number;
    CHECK(on_stack(0), "the handler is not on its stack");
}

static void on_long(int number) {
    (void)number;
    CHECK(on_stack(1), "the handler is not on its stack");
    inside = 1;
    while (!leave) sched_yield();
    CHECK(on_stack(1), "the handler came off its stack");
    inside = 2;
}

static void *run(void *unused) {
    (void)unused;
    MUST(sigaltstack(&(stack_t){.ss_sp = stacks[1], .ss_size = sizeof stacks[1]}, NULL));
    pthread_barrier_wait(&before);
    raise(SIGHUP);
    stack_t now;
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_sp == stacks[1] && now.ss_flags == 0, "the thread's stack changed");
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_handler = on_long;
    sigaction(SIGHUP, &action, NULL);
    MUST(sigaltstack(&(stack_t){.ss_sp = stacks[0], .ss_size = sizeof stacks[0]}, NULL));
    pthread_barrier_init(&before, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    while (inside != 1) sched_yield();
    ready();
    stack_t now;
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_sp == stacks[0] && now.ss_size == sizeof stacks[0] && now.ss_flags == 0, "the stack changed");
    raise(SIGUSR1);
    leave = true;
    pthread_join(thread, NULL);
    CHECK(inside == 2, "the running handler did not end");
    return passed();
}
