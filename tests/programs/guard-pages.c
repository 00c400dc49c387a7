/* Protections are kept: a write to a guarded page is a SIGSEGV with its address, as before. */
#include "check.h"
#include <setjmp.h>

static sigjmp_buf back;
static void *volatile fault;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    fault = info->si_addr;
    siglongjmp(back, 1);
}

static bool faults(volatile char *at, bool writes) {
    fault = NULL;
    if (sigsetjmp(back, 1)) return fault == at;
    if (writes) *at = 1;
    else (void)*at;
    return false;
}

int main(void) {
    char *memory = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 7, 5 * 4096);
    MUST(mprotect(memory + 4096, 4096, PROT_NONE));
    MUST(mprotect(memory + 3 * 4096, 4096, PROT_READ));
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    CHECK(faults(memory + 4096, false) && faults(memory + 3 * 4096, true), "the test itself");
    ready();
    CHECK(faults(memory + 4096, false), "an inaccessible page can be read");
    CHECK(faults(memory + 3 * 4096, true), "a read-only page can be written");
    CHECK(memory[3 * 4096] == 7 && memory[2 * 4096] == 7, "contents changed");
    CHECK(!faults(memory + 2 * 4096, true), "a writable page can't be written");
    return passed();
}
