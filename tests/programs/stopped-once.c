/* A stop that its parent has seen is not told again, one that it has not seen is; no SIGCHLD comes from
 * nowhere. A job-control shell would print such a stop twice, or never. */
#include "check.h"

__attribute__((noreturn)) static int sleeps(void *unused) {
    (void)unused;
    for (;;) pause();
}

static volatile sig_atomic_t told;
static void on_child(int number) { (void)number; told++; }

int main(void) {
    pid_t seen = child(sleeps, NULL), unseen = child(sleeps, NULL), running = child(sleeps, NULL);
    int status;
    MUST(kill(seen, SIGSTOP));
    CHECK(waitpid(seen, &status, WUNTRACED) == seen && WSTOPSIG(status) == SIGSTOP, "the test itself");
    /* In a group of its own: an orphaned one is not stopped by SIGTSTP. */
    MUST(setpgid(unseen, unseen));
    MUST(kill(unseen, SIGTSTP));
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)unseen, &info, WSTOPPED | WNOWAIT));
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    ready();
    CHECK(told == 0, "%d times SIGCHLD from nowhere", told);
    CHECK(waitpid(seen, &status, WUNTRACED | WNOHANG) == 0, "a stop that was seen is told again");
    CHECK(waitpid(running, &status, WUNTRACED | WNOHANG) == 0, "a process that runs is told of");
    CHECK(waitpid(unseen, &status, WUNTRACED | WNOHANG) == unseen, "a stop that nobody saw is lost");
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP, "the stop is %x", status);
    CHECK(waitpid(unseen, &status, WUNTRACED | WNOHANG) == 0, "it is told twice");
    for (int i = 0; i < 2; i++) {
        pid_t pid = i ? seen : unseen;
        MUST(kill(pid, SIGCONT));
        CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "it does not continue");
    }
    end_child(seen);
    end_child(unseen);
    end_child(running);
    return passed();
}
