/* A program that traces another, as debuggers do: both can't be carried, and it is said before anything stops. */
#include "check.h"
#include <sys/ptrace.h>

static int go[2];
static int traced(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    return 7;
}

int main(void) {
    MUST(pipe(go));
    pid_t pid = child(traced, NULL);
    MUST(ptrace(PTRACE_SEIZE, pid, 0, 0));
    expect_refusal("it is being debugged");
    ready();
    MUST(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
    int status;
    CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status), "it is not traced any more: %x", status);
    MUST(ptrace(PTRACE_CONT, pid, 0, 0));
    write_all(go[1], "x", 1);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7, "it ended with %x", status);
    return passed();
}
