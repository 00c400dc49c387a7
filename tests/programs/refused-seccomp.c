/* A filter that was installed under a debugger can't be recorded: the debugger is in the way. It works all the same. */
#include "filter.h"
#include <sys/ptrace.h>

static int go[2], done[2], end[2];

static int body(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    forbid(SYS_getppid, 99);
    write_all(done[1], is_forbidden(SYS_getppid, 99) ? "y" : "n", 1);
    read_all(end[0], &byte, 1);
    return is_forbidden(SYS_getppid, 99) ? 0 : 1;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(done));
    MUST(pipe(end));
    pid_t below = child(body, NULL);
    MUST(ptrace(PTRACE_SEIZE, below, 0, 0));
    write_all(go[1], "g", 1);
    char answer;
    read_all(done[0], &answer, 1);
    CHECK(answer == 'y', "no filter under a debugger");
    MUST(ptrace(PTRACE_INTERRUPT, below, 0, 0));
    int status;
    CHECK(waitpid(below, &status, 0) == below && WIFSTOPPED(status), "it does not stop: %x", status);
    MUST(ptrace(PTRACE_DETACH, below, 0, 0));
    expect_refusal("seccomp filter that was not recorded");
    ready();
    write_all(end[1], "e", 1);
    CHECK(waitpid(below, &status, 0) == below && status == 0, "it ended with %x", status);
    return passed();
}
