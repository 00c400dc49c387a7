/* Parents, children and grandchildren keep their pids and each other. */
#include "check.h"

static int pipe_up[2];

struct said { pid_t pid, parent; };

static int grandchild(void *report) {
    struct said said = {getpid(), getppid()};
    if (report) write_all(pipe_up[1], &said, sizeof said);
    while (pause() < 0) {
    }
    return 0;
}

static void on_signal(int number) { (void)number; }

static int middle(void *unused) {
    (void)unused;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGHUP, &action, NULL);
    sigset_t hup, old;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hup, &old);
    pid_t below[2] = {child(grandchild, &pipe_up), child(grandchild, &pipe_up)};
    struct said said = {getpid(), getppid()};
    write_all(pipe_up[1], &said, sizeof said);
    sigsuspend(&old);
    /* After the move: the grandchildren are still ours, and can be waited for. */
    for (int i = 0; i < 2; i++) {
        MUST(kill(below[i], SIGTERM));
        int status;
        CHECK(waitpid(below[i], &status, 0) == below[i], "a grandchild is not its parent's any more");
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "it ended otherwise");
    }
    return 33;
}

int main(void) {
    MUST(pipe(pipe_up));
    pid_t own = getpid(), parent = getppid(), pids[3];
    struct said said[9];
    for (int i = 0; i < 3; i++) pids[i] = child(middle, NULL);
    read_all(pipe_up[0], said, sizeof said);
    ready();
    CHECK(getpid() == own, "own pid is %d, was %d", getpid(), own);
    CHECK(getppid() == parent, "parent is %d, was %d", getppid(), parent);
    for (int i = 0; i < 9; i++) CHECK(kill(said[i].pid, 0) == 0, "process %d is gone", said[i].pid);
    for (int i = 0; i < 3; i++) {
        MUST(kill(pids[i], SIGHUP));
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i], "child %d can't be waited for", pids[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 33, "its status is %x", status);
    }
    return passed();
}
