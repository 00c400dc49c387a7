/* O_ASYNC: who gets which signal when there is something to read (F_SETOWN, F_SETOWN_EX, F_SETSIG). */
#include "check.h"

static pid_t receiver_tid;
static int steps[2];

static void *receive(void *unused) {
    (void)unused;
    receiver_tid = (pid_t)syscall(SYS_gettid);
    write_all(steps[1], "x", 1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    siginfo_t info;
    int signal;
    while ((signal = sigwaitinfo(&set, &info)) < 0 && errno == EINTR) {
    }
    return (void *)(intptr_t)info.si_fd;
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < 5; i++) sigaddset(&set, SIGRTMIN + i);
    sigaddset(&set, SIGIO);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int plain[2], numbered[2], sockets[2];
    MUST(pipe(steps));
    MUST(pipe(plain));
    MUST(pipe(numbered));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, receive, NULL) == 0, "no thread");
    char byte;
    read_all(steps[0], &byte, 1);
    MUST(fcntl(plain[0], F_SETOWN, getpid()));
    MUST(fcntl(plain[0], F_SETFL, O_ASYNC));
    MUST(fcntl(numbered[0], F_SETOWN, getpid()));
    MUST(fcntl(numbered[0], F_SETSIG, SIGRTMIN + 1));
    MUST(fcntl(numbered[0], F_SETFL, O_ASYNC | O_NONBLOCK));
    struct f_owner_ex owner = {F_OWNER_TID, receiver_tid};
    MUST(fcntl(sockets[0], F_SETOWN_EX, &owner));
    MUST(fcntl(sockets[0], F_SETSIG, SIGRTMIN + 3));
    MUST(fcntl(sockets[0], F_SETFL, O_ASYNC));
    ready();
    struct timespec none = {0, 0}, limit = {20, 0};
    siginfo_t info;
    CHECK(sigtimedwait(&set, &info, &none) < 0, "signal %d came out of nothing", info.si_signo);
    CHECK(fcntl(plain[0], F_GETOWN) == getpid() && fcntl(numbered[0], F_GETSIG) == SIGRTMIN + 1, "the owner is lost");
    CHECK(fcntl(plain[0], F_GETFL) & O_ASYNC, "O_ASYNC is lost");
    write_all(plain[1], "x", 1);
    CHECK(sigtimedwait(&set, &info, &limit) == SIGIO, "no SIGIO");
    write_all(numbered[1], "x", 1);
    CHECK(sigtimedwait(&set, &info, &limit) == SIGRTMIN + 1 && info.si_fd == numbered[0], "no signal of its own");
    struct f_owner_ex now;
    MUST(fcntl(sockets[0], F_GETOWN_EX, &now));
    CHECK(now.type == F_OWNER_TID && now.pid == receiver_tid, "the owner is %d of type %d", now.pid, now.type);
    write_all(sockets[1], "x", 1);
    void *fd;
    pthread_join(thread, &fd);
    CHECK((intptr_t)fd == sockets[0], "the thread was told of %ld", (long)(intptr_t)fd);
    return passed();
}
