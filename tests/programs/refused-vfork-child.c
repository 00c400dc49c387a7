/* A child by vfork that has not execed yet: parent and child are one memory, the parent waits. */
#include "check.h"

static int go[2];
static volatile int seen;

static void *parent(void *unused) {
    (void)unused;
    pid_t pid = vfork();
    if (pid == 0) {
        char byte;
        while (read(go[0], &byte, 1) < 0) {
        }
        seen = 7;
        _exit(9);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 9, "the child ended with %x", status);
    CHECK(seen == 7, "parent and child were two memories");
    return NULL;
}

int main(void) {
    MUST(pipe(go));
    pthread_t thread;
    pthread_create(&thread, NULL, parent, NULL);
    expect_refusal("which it started by vfork");
    ready();
    write_all(go[1], "x", 1);
    pthread_join(thread, NULL);
    return passed();
}
