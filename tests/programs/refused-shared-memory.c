/* A process that shares its parent's whole memory but not its descriptors (CLONE_VM without CLONE_FILES). */
#include "check.h"
#include <sched.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int stop, seen;

static int body(void *unused) {
    (void)unused;
    seen = 1;
    while (!stop) sched_yield();
    seen = 2;
    return 3;
}

int main(void) {
    pid_t pid = MUST(clone(body, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL));
    while (!seen) sched_yield();
    expect_refusal("it is shared with process");
    ready();
    stop = 1;
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3 && seen == 2, "it ended with %x", status);
    return passed();
}
