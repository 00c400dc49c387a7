/* Sessions and process groups, also one whose leader has ended. */
#include "check.h"

static int pipe_up[2], go[2];
struct said { pid_t pid, group, session; };

static int member(void *kind) {
    switch ((intptr_t)kind) {
        case 1: setsid(); break;
        case 2: setpgid(0, 0); break;
        default: break;
    }
    struct said said = {getpid(), getpgrp(), getsid(0)};
    write_all(pipe_up[1], &said, sizeof said);
    char byte;
    read_all(go[0], &byte, 1);
    CHECK(getpid() == said.pid, "the pid changed");
    CHECK(getpgrp() == said.group, "the group was %d and is %d", said.group, getpgrp());
    CHECK(getsid(0) == said.session, "the session was %d and is %d", said.session, getsid(0));
    return 0;
}

/* Leads a group, starts a member of it, and ends. */
static int leader(void *unused) {
    (void)unused;
    setpgid(0, 0);
    pid_t pid = fork();
    if (pid == 0) _exit(member(NULL));
    return 0;
}

int main(void) {
    MUST(pipe(pipe_up));
    MUST(pipe(go));
    struct said said;
    pid_t pids[3];
    for (intptr_t kind = 0; kind < 3; kind++) {
        pids[kind] = child(member, (void *)kind);
        read_all(pipe_up[0], &said, sizeof said);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t lead = child(leader, NULL);
    read_all(pipe_up[0], &said, sizeof said);
    int status;
    CHECK(waitpid(lead, &status, 0) == lead, "the test itself");
    CHECK(said.group == lead, "the test itself");
    ready();
    write_all(go[1], "xxxx", 4);
    for (int i = 0; i < 3; i++) {
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "member %d ended with %x", i, status);
    }
    CHECK(waitpid(said.pid, &status, 0) == said.pid && status == 0, "the orphan ended with %x", status);
    return passed();
}
