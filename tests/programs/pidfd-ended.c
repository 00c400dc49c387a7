/* Handles of processes in every state: running, zombie, reaped; and in an epoll. */
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>

static int sleeper(void *unused) {
    (void)unused;
    while (pause() < 0) {
    }
    return 0;
}

static int quits(void *unused) {
    (void)unused;
    return 9;
}

static int handle_of(pid_t pid) { return MUST((int)syscall(SYS_pidfd_open, pid, 0)); }

int main(void) {
    pid_t running = child(sleeper, NULL), zombie = child(quits, NULL), reaped = child(quits, NULL);
    int run = handle_of(running), dead = handle_of(zombie), gone = handle_of(reaped), epoll = MUST(epoll_create1(0));
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT));
    MUST(waitpid(reaped, NULL, 0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, run, &(struct epoll_event){EPOLLIN, {.u64 = 42}}));
    ready();
    struct pollfd polls[] = {{run, POLLIN, 0}, {dead, POLLIN, 0}, {gone, POLLIN, 0}};
    CHECK(poll(polls, 3, 0) == 2 && !polls[0].revents && polls[1].revents & POLLIN && polls[2].revents & POLLIN,
          "ready are %x %x %x", polls[0].revents, polls[1].revents, polls[2].revents);
    CHECK(syscall(SYS_pidfd_send_signal, gone, 0, NULL, 0) < 0 && errno == ESRCH, "the reaped one lives");
    CHECK(waitid((idtype_t)3, (id_t)gone, &info, WEXITED) < 0 && errno == ECHILD, "the reaped one can be waited for");
    MUST(waitid((idtype_t)3, (id_t)dead, &info, WEXITED));
    CHECK(info.si_pid == zombie && info.si_status == 9, "another one ended");
    struct epoll_event event;
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0, "the running one has ended");
    MUST((int)syscall(SYS_pidfd_send_signal, run, SIGKILL, NULL, 0));
    CHECK(epoll_wait(epoll, &event, 1, 20000) == 1 && event.data.u64 == 42, "its end is not told");
    MUST(waitid((idtype_t)3, (id_t)run, &info, WEXITED));
    CHECK(info.si_pid == running, "another one ended");
    return passed();
}
