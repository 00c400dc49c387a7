/* The end of a child is told exactly once, whenever it came: a blocked SIGCHLD that waits, with who and how; a child
 * that ends later; one that was asked for before; and none from anybody else. */
#include "check.h"

static int go[2];
static int at_once(void *unused) { (void)unused; return 31; }
static int later(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    return 32;
}

static volatile sig_atomic_t told;
static void on_child(int number) {
    (void)number;
    told++;
}

int main(void) {
    MUST(pipe(go));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t first = child(at_once, NULL), second = child(later, NULL);
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)first, &info, WEXITED | WNOWAIT));
    ready();
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0}) == SIGCHLD, "the waiting signal is lost");
    CHECK(info.si_pid == first && info.si_code == CLD_EXITED && info.si_status == 31, "it tells of %d, %d", info.si_pid, info.si_status);
    CHECK(sigtimedwait(&set, &info, &(struct timespec){0}) < 0, "there is another signal, of %d", info.si_pid);
    CHECK(waitpid(first, NULL, WNOHANG) == first, "the zombie is gone");
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(told == 0, "the end of nobody was told");
    write_all(go[1], "x", 1);
    int status;
    CHECK(waitpid(second, &status, 0) == second && WEXITSTATUS(status) == 32, "the second ended with %x", status);
    CHECK(told == 1, "its end was told %d times", told);
    return passed();
}
