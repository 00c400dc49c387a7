/* Threads that wait for ever in calls of every family: pause, sigsuspend, sigwait, sigtimedwait, ppoll and pselect
 * with a mask, select, epoll, waitid, futex, sleeping till a date. Each is woken and says what it should. */
#include "proc.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static int ends[12][2];
static pid_t tids[12], ward;
static uint32_t word = 5, other = 5;

static void on_signal(int number) { (void)number; }

static void open_only(sigset_t *set, int number) {
    sigfillset(set);
    sigdelset(set, number);
}

static long w_pause(int i) { (void)i; return pause() < 0 && errno == EINTR; }
static long w_sigsuspend(int i) { (void)i; sigset_t set; open_only(&set, SIGRTMIN + 1); return sigsuspend(&set) < 0 && errno == EINTR; }
static long w_sigwait(int i) { (void)i; sigset_t set; int got; sigemptyset(&set); sigaddset(&set, SIGRTMIN + 2); return sigwait(&set, &got) == 0 && got == SIGRTMIN + 2; }
static long w_sigtimedwait(int i) { (void)i; sigset_t set; siginfo_t info; sigemptyset(&set); sigaddset(&set, SIGRTMIN + 3); return sigtimedwait(&set, &info, &(struct timespec){100000, 0}) == SIGRTMIN + 3; }
static long w_ppoll(int i) { struct pollfd fd = {ends[i][0], POLLIN, 0}; sigset_t set; open_only(&set, SIGRTMIN + 4); return ppoll(&fd, 1, NULL, &set) < 0 && errno == EINTR; }
static long w_pselect(int i) { fd_set in; FD_ZERO(&in); FD_SET(ends[i][0], &in); sigset_t set; sigfillset(&set); return pselect(ends[i][0] + 1, &in, NULL, NULL, NULL, &set) == 1; }
static long w_select(int i) { fd_set in; FD_ZERO(&in); FD_SET(ends[i][0], &in); return select(ends[i][0] + 1, &in, NULL, NULL, NULL) == 1; }
static long w_epoll(int i) {
    int epoll = epoll_create1(0), got;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 42};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i][0], &event);
    got = epoll_wait(epoll, &event, 1, -1);
    return got == 1 && event.data.u32 == 42;
}
static long w_waitid(int i) { (void)i; siginfo_t info; return waitid(P_PID, (id_t)ward, &info, WEXITED) == 0 && info.si_status == SIGTERM; }
static long w_futex(int i) { (void)i; return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0) == 0; }
static long w_bitset(int i) {
    (void)i;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += 100000;
    return syscall(SYS_futex, &other, FUTEX_WAIT_BITSET_PRIVATE, 5, &end, NULL, 0x10) == 0;
}
static long w_readv(int i) { char byte; return read(ends[i][0], &byte, 1) == 1 && byte == 'x'; }

static long (*const ways[12])(int) = {w_pause, w_sigsuspend, w_sigwait, w_sigtimedwait, w_ppoll, w_pselect,
                                      w_select, w_epoll, w_waitid, w_futex, w_bitset, w_readv};
static const char *const names[12] = {"pause", "sigsuspend", "sigwait", "sigtimedwait", "ppoll", "pselect",
                                      "select", "epoll_wait", "waitid", "futex", "futex bitset", "read"};

static void *run(void *number) {
    int i = (int)(intptr_t)number;
    tids[i] = gettid();
    return (void *)ways[i](i);
}

static int sleeps(void *unused) {
    (void)unused;
    while (pause() < 0) {
    }
    return 0;
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 1; i < 5; i++) sigaddset(&set, SIGRTMIN + i);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    for (int i = 0; i < 6; i++) sigaction(SIGRTMIN + i, &action, NULL);
    ward = child(sleeps, NULL);
    pthread_t threads[12];
    for (int i = 0; i < 12; i++) {
        MUST(pipe(ends[i]));
        pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i);
    }
    for (int i = 0; i < 12; i++) {
        while (!*(volatile pid_t *)&tids[i]) sched_yield();
        until_asleep(getpid(), tids[i]);
    }
    ready();
    for (int i = 0; i < 5; i++) pthread_kill(threads[i], SIGRTMIN + i);
    for (int i = 5; i < 8; i++) write_all(ends[i][1], "x", 1);
    MUST(kill(ward, SIGTERM));
    /* A thread may still be on its way back into its wait. */
    long woken = 0;
    while (woken < 1) woken += syscall(SYS_futex, &other, FUTEX_WAKE_BITSET_PRIVATE, 1, NULL, NULL, 0x10);
    pthread_join(threads[10], (void **)&woken);
    CHECK(woken == 1, "futex bitset ended otherwise");
    for (woken = 0; woken < 1;) woken += syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    write_all(ends[11][1], "x", 1);
    for (int i = 0; i < 12; i++) {
        void *answer = (void *)1;
        if (i != 10) pthread_join(threads[i], &answer);
        CHECK(answer == (void *)1, "%s ended otherwise", names[i]);
    }
    return passed();
}
