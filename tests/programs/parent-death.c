/* A child that asked to be told of its parent's end is told, by the signal it chose, and by none before. */
#include "check.h"

static int up[2], go[2];

static int listener(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 5);
    sigprocmask(SIG_BLOCK, &set, NULL);
    MUST(prctl(PR_SET_PDEATHSIG, SIGRTMIN + 5));
    pid_t own = getpid();
    write_all(up[1], &own, sizeof own);
    siginfo_t info;
    while (sigwaitinfo(&set, &info) < 0 && errno == EINTR) {
    }
    int asked = 0;
    MUST(prctl(PR_GET_PDEATHSIG, &asked));
    own = asked == SIGRTMIN + 5 ? info.si_signo : -1;
    write_all(up[1], &own, sizeof own);
    return 0;
}

static int parent(void *unused) {
    (void)unused;
    if (MUST(fork()) == 0) _exit(listener());
    char byte;
    read_all(go[0], &byte, 1);
    return 3;
}

int main(void) {
    MUST(pipe(up));
    MUST(pipe(go));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t pid = child(parent, NULL), below, told;
    read_all(up[0], &below, sizeof below);
    ready();
    CHECK(kill(below, 0) == 0, "the child is gone");
    MUST(fcntl(up[0], F_SETFL, O_NONBLOCK));
    CHECK(read(up[0], &told, sizeof told) < 0 && errno == EAGAIN, "it was told too early");
    MUST(fcntl(up[0], F_SETFL, 0));
    write_all(go[1], "x", 1);
    MUST(waitpid(pid, NULL, 0));
    read_all(up[0], &told, sizeof told);
    CHECK(told == SIGRTMIN + 5, "it was told by signal %d", told);
    int status;
    CHECK(waitpid(below, &status, 0) == below && status == 0, "the orphan ended with %x", status);
    return passed();
}
