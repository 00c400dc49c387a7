/* A handle of a child process: it signals, polls and waits for the same process. */
#include "check.h"
#include <poll.h>

static int sleeper(void *unused) {
    (void)unused;
    while (pause() < 0) {
    }
    return 0;
}

int main(void) {
    pid_t pid = child(sleeper, NULL);
    int handle = MUST((int)syscall(SYS_pidfd_open, pid, 0));
    int self = MUST((int)syscall(SYS_pidfd_open, getpid(), 0));
    ready();
    struct pollfd poller = {.fd = handle, .events = POLLIN};
    CHECK(poll(&poller, 1, 0) == 0, "the child seems to have ended");
    CHECK(syscall(SYS_pidfd_send_signal, self, 0, NULL, 0) == 0, "the own handle is of another process");
    MUST((int)syscall(SYS_pidfd_send_signal, handle, SIGTERM, NULL, 0));
    CHECK(poll(&poller, 1, 10000) == 1, "the end of the child is not told");
    siginfo_t info = {0};
    MUST(waitid((idtype_t)3 /* P_PIDFD */, (id_t)handle, &info, WEXITED));
    CHECK(info.si_pid == pid && info.si_status == SIGTERM, "another process ended: %d", info.si_pid);
    return passed();
}
