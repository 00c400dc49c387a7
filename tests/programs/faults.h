/* Touching memory that may not be touched: which signal, and where. */
#ifndef FAULTS_H
#define FAULTS_H

#include "check.h"
#include <setjmp.h>

static sigjmp_buf fault_back;
static volatile int fault_signal, fault_code;
static void *volatile fault_address;

static void fault_taken(int number, siginfo_t *info, void *context) {
    (void)context;
    fault_signal = number;
    fault_code = info->si_code;
    fault_address = info->si_addr;
    siglongjmp(fault_back, 1);
}

__attribute__((unused)) static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = fault_taken, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    MUST(sigaction(SIGSEGV, &action, NULL));
    MUST(sigaction(SIGBUS, &action, NULL));
}

/* The signal that reading there brings, 0 for none. */
__attribute__((unused)) static int reading(const volatile void *at) {
    fault_signal = 0;
    if (sigsetjmp(fault_back, 1)) return fault_address == (void *)at ? fault_signal : -1;
    (void)*(const volatile char *)at;
    return 0;
}

__attribute__((unused)) static int writing(volatile void *at) {
    fault_signal = 0;
    if (sigsetjmp(fault_back, 1)) return fault_address == (void *)at ? fault_signal : -1;
    *(volatile char *)at = 1;
    return 0;
}

#endif
