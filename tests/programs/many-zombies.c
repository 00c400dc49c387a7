/* Ended children nobody has asked for yet: thirty exit codes, signals, groups and sessions of their own, and ends
 * that are told by another signal than SIGCHLD, or by none. */
#include "check.h"
#include <sched.h>

static int exits(void *code) { return (int)(intptr_t)code; }
static int dies(void *number) {
    signal((int)(intptr_t)number, SIG_DFL);
    raise((int)(intptr_t)number);
    return 0;
}
static int in_group(void *code) {
    setpgid(0, 0);
    return (int)(intptr_t)code;
}
static int in_session(void *code) {
    setsid();
    return (int)(intptr_t)code;
}

static char stack[65536] __attribute__((aligned(16)));

int main(void) {
    static const int signals[] = {SIGTERM, SIGKILL, SIGHUP, SIGALRM, SIGUSR1, SIGPIPE};
    pid_t pids[30 + 6 + 4];
    int count = 0;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (intptr_t i = 0; i < 30; i++) pids[count++] = child(exits, (void *)(i * 8));
    for (intptr_t i = 0; i < 6; i++) pids[count++] = child(dies, (void *)(intptr_t)signals[i]);
    pids[count++] = child(in_group, (void *)51);
    pids[count++] = child(in_session, (void *)52);
    pids[count++] = MUST(clone(exits, stack + sizeof stack, SIGRTMIN + 3, (void *)53));
    pids[count++] = MUST(clone(exits, stack + sizeof stack, 0, (void *)54));
    siginfo_t info;
    for (int i = 0; i < count; i++) MUST(waitid(P_PID, (id_t)pids[i], &info, WEXITED | WNOWAIT | __WALL));
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0}) == SIGRTMIN + 3, "the test itself");
    ready();
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0}) < 0 && errno == EAGAIN, "an end was told once more");
    for (int i = 0; i < count; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, WNOHANG | __WALL) == pids[i], "child %d is no zombie any more", i);
        if (i >= 30 && i < 36) CHECK(WIFSIGNALED(status) && WTERMSIG(status) == signals[i - 30], "child %d ended with %x", i, status);
        else CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (i < 30 ? i * 8 : 51 + i - 36), "child %d ended with %x", i, status);
    }
    CHECK(waitpid(-1, NULL, WNOHANG | __WALL) < 0 && errno == ECHILD, "there are more children than there were");
    return passed();
}
