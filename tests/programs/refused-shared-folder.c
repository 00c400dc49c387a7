/* Two processes with one working directory and umask (CLONE_FS): what one changes the other sees. */
#include "check.h"
#include <sched.h>

static char stack[65536] __attribute__((aligned(16)));
static int go[2];

static int body(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    return (int)umask(0);
}

int main(void) {
    MUST(pipe(go));
    pid_t pid = MUST(clone(body, stack + sizeof stack, CLONE_FS | SIGCHLD, NULL));
    expect_refusal("it is shared with process");
    ready();
    umask(0123);
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 0123, "they do not share the umask any more: %o", WEXITSTATUS(status));
    return passed();
}
