/* Signals that wait, with all that they tell: a child's status, a sender's pid, a descriptor that became
 * readable, a timer that ran out, a fault that was sent. */
#include "check.h"
#include <poll.h>

static pid_t pid;

static int ends_with_seven(void *unused) {
    (void)unused;
    return 7;
}

static int sends(void *unused) {
    (void)unused;
    MUST(kill(getppid(), SIGUSR1));
    while (pause() < 0) {
    }
    return 0;
}

static siginfo_t take(int number) {
    sigset_t one;
    siginfo_t info;
    sigemptyset(&one);
    sigaddset(&one, number);
    CHECK(sigtimedwait(&one, &info, &(struct timespec){0, 0}) == number, "signal %d is lost", number);
    return info;
}

static void await(int number) {
    sigset_t now;
    do {
        sched_yield();
        MUST(sigpending(&now));
    } while (!sigismember(&now, number));
}

int main(void) {
    sigset_t all;
    sigfillset(&all);
    MUST(sigprocmask(SIG_BLOCK, &all, NULL));
    pid_t sender = child(sends, NULL);
    await(SIGUSR1);
    int ends[2], readable = SIGRTMIN + 5, timer_signal = SIGRTMIN + 6;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    MUST(fcntl(ends[0], F_SETSIG, readable));
    MUST(fcntl(ends[0], F_SETOWN, getpid()));
    MUST(fcntl(ends[0], F_SETFL, O_ASYNC));
    write_all(ends[1], "x", 1);
    await(readable);
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = timer_signal};
    event.sigev_value.sival_ptr = &event;
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    MUST(timer_settime(timer, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL));
    await(timer_signal);
    siginfo_t fault = {.si_signo = SIGSEGV, .si_code = -60};
    fault.si_addr = (void *)0x123456789000;
    MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGSEGV, &fault));
    pid = child(ends_with_seven, NULL);
    await(SIGCHLD);
    ready();
    siginfo_t info = take(SIGCHLD);
    CHECK(info.si_code == CLD_EXITED && info.si_pid == pid && info.si_status == 7 && info.si_uid == getuid(),
          "the child %d: code %d, pid %d, status %d", pid, info.si_code, info.si_pid, info.si_status);
    info = take(SIGUSR1);
    CHECK(info.si_code == SI_USER && info.si_pid == sender && info.si_uid == getuid(), "the sender: code %d, pid %d",
          info.si_code, info.si_pid);
    info = take(readable);
    CHECK(info.si_fd == ends[0] && info.si_code == POLL_IN && info.si_band & POLLIN, "input: descriptor %d, code %d, band %lx",
          info.si_fd, info.si_code, info.si_band);
    info = take(timer_signal);
    CHECK(info.si_code == SI_TIMER && info.si_value.sival_ptr == &event, "the timer: code %d", info.si_code);
    info = take(SIGSEGV);
    CHECK(info.si_code == -60 && info.si_addr == (void *)0x123456789000, "the fault: code %d at %p", info.si_code, info.si_addr);
    int status;
    CHECK(waitpid(pid, &status, WNOHANG) == pid && WEXITSTATUS(status) == 7, "the child's status is lost");
    sigset_t now;
    MUST(sigpending(&now));
    for (int number = 1; number < 65; number++) CHECK(!sigismember(&now, number), "signal %d came from nowhere", number);
    end_child(sender);
    return passed();
}
