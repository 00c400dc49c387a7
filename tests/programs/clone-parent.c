/* Brothers made by clone(CLONE_PARENT): children of one's own parent, who can wait for them. */
#include "check.h"
#include <sched.h>

static int up[2], go[2];
static char stack[65536] __attribute__((aligned(16)));

static int brother(void *unused) {
    (void)unused;
    pid_t ids[2] = {getpid(), getppid()};
    write_all(up[1], ids, sizeof ids);
    char byte;
    read_all(go[0], &byte, 1);
    return getppid() == ids[1] ? 61 : 1;
}

static int first(void *unused) {
    (void)unused;
    MUST(clone(brother, stack + sizeof stack, CLONE_PARENT | SIGCHLD, NULL));
    MUST(clone(brother, stack + sizeof stack, CLONE_PARENT | SIGCHLD, NULL));
    char byte;
    read_all(go[0], &byte, 1);
    /* They are not ours to wait for. */
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? 62 : 1;
}

int main(void) {
    MUST(pipe(up));
    MUST(pipe(go));
    pid_t pid = child(first, NULL), ids[2][2];
    read_all(up[0], ids, sizeof ids);
    for (int i = 0; i < 2; i++) CHECK(ids[i][1] == getpid(), "the test itself");
    ready();
    write_all(go[1], "xxx", 3);
    int status, sum = 0;
    for (int i = 0; i < 3; i++) {
        pid_t got = waitpid(-1, &status, 0);
        CHECK(got == pid || got == ids[0][0] || got == ids[1][0], "child %d is nobody's", got);
        CHECK(WIFEXITED(status), "child %d ended with %x", got, status);
        sum += WEXITSTATUS(status);
    }
    CHECK(sum == 62 + 61 + 61, "the answers are %d", sum);
    return passed();
}
