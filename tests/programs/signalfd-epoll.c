/* Signal descriptors that others wait for: in an epoll, read by a blocked thread, one for a child's end. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/signalfd.h>

static int children, blocked;
static pid_t pid;

static int ends(void *unused) {
    (void)unused;
    return 33;
}

static void *reads(void *unused) {
    (void)unused;
    struct signalfd_siginfo info;
    read_all(blocked, &info, sizeof info);
    CHECK(info.ssi_signo == (uint32_t)SIGRTMIN + 2 && info.ssi_int == 99, "the blocked reader got %u with %d",
          info.ssi_signo, info.ssi_int);
    return NULL;
}

int main(void) {
    sigset_t set, child_only, other;
    sigemptyset(&set);
    sigemptyset(&child_only);
    sigemptyset(&other);
    sigaddset(&child_only, SIGCHLD);
    sigaddset(&other, SIGRTMIN + 2);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGRTMIN + 2);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    children = MUST(signalfd(-1, &child_only, SFD_CLOEXEC));
    blocked = MUST(signalfd(-1, &other, 0));
    int epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, children, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 5}));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, blocked, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 6}));
    pid = child(ends, NULL);
    struct epoll_event event;
    while (epoll_wait(epoll, &event, 1, 10000) != 1) CHECK(errno == EINTR, "the test itself");
    pthread_t thread;
    pthread_create(&thread, NULL, reads, NULL);
    ready();
    CHECK(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u32 == 5, "the epoll does not tell of the child");
    struct signalfd_siginfo info;
    read_all(children, &info, sizeof info);
    CHECK(info.ssi_signo == SIGCHLD && info.ssi_pid == (uint32_t)pid && info.ssi_status == 33 && info.ssi_code == CLD_EXITED,
          "signal %u, pid %u, status %d", info.ssi_signo, info.ssi_pid, info.ssi_status);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0, "it tells of something twice");
    MUST(sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = 99}));
    pthread_join(thread, NULL);
    MUST(waitpid(pid, NULL, 0));
    return passed();
}
