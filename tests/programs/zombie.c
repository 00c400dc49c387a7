/* Children that ended before and were not yet waited for: by exit, and by a signal. */
#include "check.h"

static int exits(void *unused) { (void)unused; return 42; }
static int is_killed(void *unused) { (void)unused; raise(SIGKILL); return 0; }

int main(void) {
    pid_t one = child(exits, NULL), two = child(is_killed, NULL);
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)one, &info, WEXITED | WNOWAIT));
    MUST(waitid(P_PID, (id_t)two, &info, WEXITED | WNOWAIT));
    ready();
    int status;
    CHECK(waitpid(one, &status, WNOHANG) == one, "the first zombie is gone");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42, "its status is %x", status);
    CHECK(waitpid(two, &status, WNOHANG) == two, "the second zombie is gone");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "its status is %x", status);
    CHECK(waitpid(-1, &status, WNOHANG) < 0 && errno == ECHILD, "there are children that were not");
    return passed();
}
