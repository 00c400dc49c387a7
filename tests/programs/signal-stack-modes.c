/* Signal stacks in every mode: none, switched off, and one that disarms itself while its handler runs;
 * a freeze inside that handler. */
#include "check.h"
#include <stdatomic.h>

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif

static char stacks[2][65536];
static atomic_int inside;
static atomic_bool leave;

static void on_signal(int number) {
    (void)number;
    char here;
    CHECK(&here >= stacks[0] && &here < stacks[0] + sizeof stacks[0], "the handler is not on its stack");
    stack_t now;
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_flags == SS_DISABLE, "inside, before: flags %x", (unsigned)now.ss_flags);
    inside = 1;
    while (!leave) sched_yield();
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_flags == SS_DISABLE, "inside, after: flags %x", (unsigned)now.ss_flags);
}

static void *run(void *unused) {
    (void)unused;
    MUST(sigaltstack(&(stack_t){.ss_sp = stacks[0], .ss_size = sizeof stacks[0], .ss_flags = (int)SS_AUTODISARM}, NULL));
    raise(SIGHUP);
    stack_t now;
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_sp == stacks[0] && (unsigned)now.ss_flags == SS_AUTODISARM && now.ss_size == sizeof stacks[0],
          "the stack is not armed again: flags %x", (unsigned)now.ss_flags);
    return NULL;
}

static atomic_bool look;
static void *armed(void *unused) {
    (void)unused;
    MUST(sigaltstack(&(stack_t){.ss_sp = stacks[1], .ss_size = sizeof stacks[1], .ss_flags = (int)SS_AUTODISARM}, NULL));
    inside++;
    while (!look) sched_yield();
    stack_t now;
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_sp == stacks[1] && (unsigned)now.ss_flags == SS_AUTODISARM, "armed: flags %x", (unsigned)now.ss_flags);
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGHUP, &action, NULL);
    stack_t off = {.ss_flags = SS_DISABLE}, now;
    MUST(sigaltstack(&(stack_t){.ss_sp = malloc(65536), .ss_size = 65536}, NULL));
    MUST(sigaltstack(&off, NULL));
    pthread_t one, two;
    pthread_create(&one, NULL, run, NULL);
    while (inside != 1) sched_yield();
    pthread_create(&two, NULL, armed, NULL);
    while (inside != 2) sched_yield();
    ready();
    MUST(sigaltstack(NULL, &now));
    CHECK(now.ss_flags == SS_DISABLE, "a stack that was switched off is on");
    look = leave = true;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return passed();
}
