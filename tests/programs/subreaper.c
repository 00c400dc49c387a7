/* Orphans go to the nearest subreaper, also those that led or lost a session of their own; it stays one for those to
 * come, and its children do not become one. */
#include "check.h"

static int up[2], go[2];
static pid_t reaper;

static int sleeper(void *unused) {
    (void)unused;
    pid_t ids[4] = {getpid(), getppid(), getpgid(0), getsid(0)};
    /* Its parent's end may have come before it looked. */
    while (getppid() != reaper) sched_yield();
    ids[1] = getppid();
    write_all(up[1], ids, sizeof ids);
    char byte;
    read_all(go[0], &byte, 1);
    return getpid() == ids[0] && getppid() == ids[1] && getpgid(0) == ids[2] && getsid(0) == ids[3] ? 21 : 1;
}
/* A child that outlives its parent. */
static void orphan(int (*body)(void *)) {
    if (MUST(fork()) == 0) _exit(body(NULL));
}
static int leaves(void *how) {
    if (how) setsid();
    orphan(sleeper);
    return 0;
}

int main(void) {
    reaper = getpid();
    MUST(pipe(up));
    MUST(pipe(go));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    for (int i = 0; i < 4; i++) {
        pid_t pid = child(leaves, i % 2 ? &up : NULL);
        MUST(waitpid(pid, NULL, 0));
    }
    pid_t ids[4][4];
    read_all(up[0], ids, sizeof ids);
    for (int i = 0; i < 4; i++) CHECK(ids[i][1] == getpid(), "the test itself");
    ready();
    int on = 0;
    MUST(prctl(PR_GET_CHILD_SUBREAPER, &on));
    CHECK(on == 1, "it is no subreaper any more");
    pid_t pid = child(leaves, NULL), late[4];
    CHECK(waitpid(pid, NULL, 0) == pid, "its child is lost");
    read_all(up[0], late, sizeof late);
    CHECK(late[1] == getpid(), "a new orphan went to %d", late[1]);
    write_all(go[1], "xxxxx", 5);
    for (int i = 0; i < 5; i++) {
        int status;
        CHECK(waitpid(-1, &status, 0) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 21, "orphan %d ended with %x", i, status);
    }
    return passed();
}
