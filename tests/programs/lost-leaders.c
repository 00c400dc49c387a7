/* Groups and sessions whose leaders ended: the members stay together, get signals as a group, and their numbers are
 * not given to others. */
#include "check.h"

static int up[2], go[2];

struct said { pid_t pid, group, session; };

static int member(void *unused) {
    (void)unused;
    struct said now = {getpid(), getpgid(0), getsid(0)};
    write_all(up[1], &now, sizeof now);
    char byte;
    read_all(go[0], &byte, 1);
    if (getpid() != now.pid || getpgid(0) != now.group || getsid(0) != now.session) return 1;
    while (pause() < 0) {
    }
    return 2;
}
/* A child that outlives its parent. */
static void orphan(int (*body)(void *)) {
    if (MUST(fork()) == 0) _exit(body(NULL));
}
static int leads(void *session) {
    if (session) setsid();
    else setpgid(0, 0);
    orphan(member);
    orphan(member);
    return 0;
}

int main(void) {
    MUST(pipe(up));
    MUST(pipe(go));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t leaders[2];
    struct said said[4];
    for (int i = 0; i < 2; i++) {
        leaders[i] = child(leads, i ? &up : NULL);
        MUST(waitpid(leaders[i], NULL, 0));
        read_all(up[0], said + 2 * i, 2 * sizeof *said);
    }
    for (int i = 0; i < 4; i++) CHECK(said[i].group == leaders[i / 2], "the test itself");
    ready();
    for (int i = 0; i < 4; i++) {
        CHECK(getpgid(said[i].pid) == leaders[i / 2], "member %d is in group %d", i, getpgid(said[i].pid));
        CHECK(getsid(said[i].pid) == said[i].session, "member %d is in session %d", i, getsid(said[i].pid));
    }
    for (int i = 0; i < 2; i++) CHECK(kill(leaders[i], 0) < 0 && errno == ESRCH, "leader %d is back", i);
    write_all(go[1], "xxxx", 4);
    for (int i = 0; i < 2; i++) {
        MUST(kill(-leaders[i], SIGTERM));
        for (int j = 0; j < 2; j++) {
            int status;
            pid_t got = waitpid(-leaders[i], &status, 0);
            CHECK(got > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "member %d ended with %x", got, status);
        }
    }
    return passed();
}
