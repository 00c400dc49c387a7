/* A hundred generations of processes, each the child of the one before; the last one's end goes up through all. */
#include "check.h"

enum { DEPTH = 100 };
static int go[2], back[2];

static int generation(void *left) {
    intptr_t more = (intptr_t)left;
    pid_t own = getpid(), parent = getppid();
    if (more == 0) {
        write_all(back[1], "x", 1);
        char byte;
        read_all(go[0], &byte, 1);
        return getpid() == own && getppid() == parent ? 1 : 0;
    }
    pid_t pid = child(generation, (void *)(more - 1));
    int status;
    pid_t got;
    while ((got = waitpid(-1, &status, 0)) < 0 && errno == EINTR) {
    }
    if (got != pid || !WIFEXITED(status) || getpid() != own || getppid() != parent) return 0;
    /* Each adds one. */
    return WEXITSTATUS(status) ? WEXITSTATUS(status) + 1 : 0;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    pid_t pid = child(generation, (void *)(intptr_t)(DEPTH - 1));
    char byte;
    read_all(back[0], &byte, 1);
    ready();
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == DEPTH, "%d generations answered (%x)", WEXITSTATUS(status), status);
    return passed();
}
