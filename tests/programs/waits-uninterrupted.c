/* Waits that the kernel ends with EINTR, or could, when a thread is stopped (signal(7)): nothing of that may show, since
 * the program gets no signal. Each wait is made once and is woken at the end. */
#include "inet.h"
#include "proc.h"
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { LONG = 100000, MOST = 48 };

static int pairs[MOST][2], sets[2], queue, file;
static aio_context_t contexts[2];
static uint32_t word = 9;
static mqd_t mailboxes[2];
static const struct timespec span = {LONG, 0};

static void limit(int fd, int which) { MUST(setsockopt(fd, SOL_SOCKET, which, &(struct timeval){LONG, 0}, sizeof(struct timeval))); }

/* What comes through the own pair of sockets: a byte. */
static long polls(int i) { struct pollfd fd = {pairs[i][0], POLLIN, 0}; return poll(&fd, 1, LONG) == 1; }
static long ppolls(int i) { struct pollfd fd = {pairs[i][0], POLLIN, 0}; return ppoll(&fd, 1, &span, NULL) == 1; }
static long selects(int i) { fd_set in; FD_ZERO(&in); FD_SET(pairs[i][0], &in); return select(pairs[i][0] + 1, &in, NULL, NULL, &(struct timeval){LONG, 0}) == 1; }
static long pselects(int i) { fd_set in; FD_ZERO(&in); FD_SET(pairs[i][0], &in); return pselect(pairs[i][0] + 1, &in, NULL, NULL, &span, NULL) == 1; }
static int epoll_of(int i) {
    int epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, pairs[i][0], &(struct epoll_event){EPOLLIN, {0}}));
    return epoll;
}
static long epolls(int i) { struct epoll_event event; return epoll_wait(epoll_of(i), &event, 1, -1) == 1; }
static long epolls_timed(int i) { struct epoll_event event; return epoll_wait(epoll_of(i), &event, 1, LONG * 1000) == 1; }
static long epolls_pwait2(int i) { struct epoll_event event; return syscall(SYS_epoll_pwait2, epoll_of(i), &event, 1, &span, NULL, 0) == 1; }
static long reads(int i) { char byte; return read(pairs[i][0], &byte, 1) == 1; }
static long reads_timed(int i) { limit(pairs[i][0], SO_RCVTIMEO); return reads(i); }
static long readvs_timed(int i) { char byte; struct iovec room = {&byte, 1}; limit(pairs[i][0], SO_RCVTIMEO); return readv(pairs[i][0], &room, 1) == 1; }
static long receives(int i) { char byte; limit(pairs[i][0], SO_RCVTIMEO); return recv(pairs[i][0], &byte, 1, 0) == 1; }
static long receives_message(int i) {
    char byte;
    struct iovec room = {&byte, 1};
    struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1};
    limit(pairs[i][0], SO_RCVTIMEO);
    return recvmsg(pairs[i][0], &message, 0) == 1;
}
static long receives_messages(int i) {
    char byte;
    struct iovec room = {&byte, 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &room, .msg_iovlen = 1}};
    limit(pairs[i][0], SO_RCVTIMEO);
    return recvmmsg(pairs[i][0], &message, 1, 0, NULL) == 1;
}
/* The other side is full until it is read. */
static char much[1 << 16];
static void fill_up(int i) { while (send(pairs[i][0], much, sizeof much, MSG_DONTWAIT) > 0) {} limit(pairs[i][0], SO_SNDTIMEO); errno = 0; }
static long sends(int i) { fill_up(i); return send(pairs[i][0], "x", 1, 0) == 1; }
static long writes(int i) { fill_up(i); return write(pairs[i][0], "x", 1) == 1; }
static long sends_message(int i) {
    struct iovec data = {"x", 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    fill_up(i);
    return sendmsg(pairs[i][0], &message, 0) == 1;
}
/* The first of the pair listens, the second one will call. */
static long accepts(int i) { limit(pairs[i][0], SO_RCVTIMEO); return accept(pairs[i][0], NULL, NULL) >= 0; }
static long accepts_4(int i) { limit(pairs[i][0], SO_RCVTIMEO); return accept4(pairs[i][0], NULL, NULL, SOCK_CLOEXEC) >= 0; }
static long semaphore(int i) { (void)i; return semop(sets[0], &(struct sembuf){0, -1, 0}, 1) == 0; }
static long semaphore_timed(int i) { (void)i; return semtimedop(sets[1], &(struct sembuf){0, -1, 0}, 1, &span) == 0; }
static long signals(int i) { sigset_t set; sigemptyset(&set); sigaddset(&set, SIGRTMIN + i); return sigwaitinfo(&set, NULL) == SIGRTMIN + i; }
static long signals_timed(int i) { sigset_t set; sigemptyset(&set); sigaddset(&set, SIGRTMIN + i); return sigtimedwait(&set, NULL, &span) == SIGRTMIN + i; }
static long sleeps(int i) { (void)i; return nanosleep(&(struct timespec){3, 0}, NULL) == 0; }
static long sleeps_by_clock(int i) { (void)i; return clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){3, 0}, NULL) == 0; }
static long events(int i) { (void)i; struct io_event event; return syscall(SYS_io_getevents, contexts[0], 1, 1, &event, NULL) == 1; }
static long events_timed(int i) { (void)i; struct io_event event; return syscall(SYS_io_getevents, contexts[1], 1, 1, &event, &span) == 1; }
static long message(int i) { struct { long type; char text[8]; } room; return msgrcv(queue, &room, 8, i + 1, 0) == 1; }
static long mail(int i) { (void)i; char text[8]; return mq_receive(mailboxes[0], text, sizeof text, NULL) == 1; }
static long mail_timed(int i) {
    (void)i;
    char text[8];
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += LONG;
    return mq_timedreceive(mailboxes[1], text, sizeof text, NULL, &end) == 1;
}
static long futex(int i) { (void)i; return syscall(SYS_futex, &word, FUTEX_WAIT, 9, &span, NULL, 0) == 0; }
static long locks(int i) { (void)i; int own = MUST(open(in_folder("lock"), O_RDWR)); long answer = flock(own, LOCK_EX) == 0; close(own); return answer; }

/* By which pair it is woken, if by any. */
enum { NONE, STREAM, TCP, DATAGRAM, FULL, LISTENER, LISTENER_TCP };
static const struct { const char *name; long (*wait)(int); int pair; } ways[] = {
    {"poll", polls, STREAM}, {"ppoll", ppolls, STREAM}, {"select", selects, STREAM}, {"pselect", pselects, STREAM},
    {"epoll_wait", epolls, STREAM}, {"epoll_wait with a time-out", epolls_timed, STREAM}, {"epoll_pwait2", epolls_pwait2, STREAM},
    {"read", reads, STREAM}, {"read with a time-out", reads_timed, STREAM}, {"readv", readvs_timed, TCP}, {"recv", receives, STREAM},
    {"recv of TCP", receives, TCP}, {"recv of datagrams", receives, DATAGRAM}, {"recvmsg", receives_message, STREAM},
    {"recvmmsg", receives_messages, DATAGRAM}, {"send", sends, FULL}, {"write", writes, FULL}, {"sendmsg", sends_message, FULL},
    {"accept", accepts, LISTENER}, {"accept4", accepts_4, LISTENER_TCP}, {"semop", semaphore, NONE}, {"semtimedop", semaphore_timed, NONE},
    {"sigwaitinfo", signals, NONE}, {"sigtimedwait", signals_timed, NONE}, {"nanosleep", sleeps, NONE}, {"clock_nanosleep", sleeps_by_clock, NONE},
    {"io_getevents", events, NONE}, {"io_getevents with a time-out", events_timed, NONE}, {"msgrcv", message, NONE}, {"mq_receive", mail, NONE},
    {"mq_timedreceive", mail_timed, NONE}, {"futex", futex, NONE}, {"flock", locks, NONE},
};
enum { ALL = sizeof ways / sizeof *ways };
static pid_t tids[ALL];
static int errors[ALL];
static long answers[ALL];

static void *run(void *number) {
    int i = (int)(intptr_t)number;
    __atomic_store_n(&tids[i], gettid(), __ATOMIC_SEQ_CST);
    errno = 0;
    answers[i] = ways[i].wait(i);
    errors[i] = errno;
    return NULL;
}

static void make(int i) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    switch (ways[i].pair) {
    case STREAM: case FULL: MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i])); break;
    case DATAGRAM: MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pairs[i])); break;
    case TCP: connection(AF_INET, pairs[i]); break;
    case LISTENER_TCP: pairs[i][0] = listen_on(AF_INET, 5); break;
    case LISTENER:
        pairs[i][0] = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
        memcpy(name.sun_path, "\0waits-uninterrupted", 20);
        MUST(bind(pairs[i][0], (struct sockaddr *)&name, sizeof name.sun_family + 20));
        MUST(listen(pairs[i][0], 5));
    }
}

/* False if its end has been awaited. */
static bool wake(int i, pthread_t thread) {
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    struct { long type; char text[8]; } letter = {i + 1, "x"};
    static char room[1 << 16];
    struct iocb block = {.aio_fildes = (uint32_t)file, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (uint64_t)room, .aio_nbytes = 1};
    struct iocb *blocks[] = {&block};
    switch (ways[i].pair) {
    case STREAM: case TCP: case DATAGRAM: write_all(pairs[i][1], "x", 1); return true;
    case FULL:
        while (recv(pairs[i][1], room, sizeof room, MSG_DONTWAIT) > 0 || pthread_tryjoin_np(thread, NULL) == EBUSY) {
        }
        return false;
    case LISTENER_TCP: pairs[i][1] = call(AF_INET, port_of(pairs[i][0], false)); return true;
    case LISTENER:
        pairs[i][1] = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
        MUST(getsockname(pairs[i][0], (struct sockaddr *)&name, &length));
        MUST(connect(pairs[i][1], (struct sockaddr *)&name, length));
        return true;
    }
    if (ways[i].wait == semaphore) MUST(semop(sets[0], &(struct sembuf){0, 1, 0}, 1));
    if (ways[i].wait == semaphore_timed) MUST(semop(sets[1], &(struct sembuf){0, 1, 0}, 1));
    if (ways[i].wait == signals || ways[i].wait == signals_timed) pthread_kill(thread, SIGRTMIN + i);
    if (ways[i].wait == events) MUST(syscall(SYS_io_submit, contexts[0], 1, blocks));
    if (ways[i].wait == events_timed) MUST(syscall(SYS_io_submit, contexts[1], 1, blocks));
    if (ways[i].wait == message) MUST(msgsnd(queue, &letter, 1, 0));
    if (ways[i].wait == mail) MUST(mq_send(mailboxes[0], "x", 1, 0));
    if (ways[i].wait == mail_timed) MUST(mq_send(mailboxes[1], "x", 1, 0));
    if (ways[i].wait == locks) MUST(flock(file, LOCK_UN));
    if (ways[i].wait == futex) {
        for (long woken = 0; woken < 1;) woken = syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    return true;
}

int main(void) {
    pthread_t threads[ALL];
    sigset_t set;
    sigfillset(&set);
    sigdelset(&set, SIGTERM);
    sigdelset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    file = MUST(open(in_folder("lock"), O_RDWR | O_CREAT, 0600));
    write_all(file, "text", 4);
    MUST(flock(file, LOCK_EX));
    queue = MUST(msgget(IPC_PRIVATE, 0600));
    /* One for each who waits: which of two begins its wait anew first is not said. */
    for (int i = 0; i < 2; i++) {
        char *box = NULL;
        if (asprintf(&box, "/waits-uninterrupted-%d-%d", getpid(), i) < 0) abort();
        struct mq_attr attribute = {.mq_maxmsg = 4, .mq_msgsize = 8};
        mailboxes[i] = MUST(mq_open(box, O_RDWR | O_CREAT, 0600, &attribute));
        mq_unlink(box);
        sets[i] = MUST(semget(IPC_PRIVATE, 1, 0600));
        MUST(syscall(SYS_io_setup, 4, &contexts[i]));
    }
    for (int i = 0; i < ALL; i++) {
        make(i);
        pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i);
        while (!__atomic_load_n(&tids[i], __ATOMIC_SEQ_CST)) sched_yield();
        until_asleep(getpid(), tids[i]);
    }
    ready();
    for (int i = 0; i < ALL; i++) {
        bool sleeper = ways[i].wait == sleeps || ways[i].wait == sleeps_by_clock;
        /* What has ended before it is woken was ended by something else. */
        bool waits = pthread_tryjoin_np(threads[i], NULL) == EBUSY;
        CHECK(waits || errors[i] != EINTR, "%s was interrupted", ways[i].name);
        CHECK(waits || sleeper, "%s ended by itself, errno %d", ways[i].name, errors[i]);
        if (waits && wake(i, threads[i])) pthread_join(threads[i], NULL);
        CHECK(answers[i] == 1, "%s ended otherwise, errno %d", ways[i].name, errors[i]);
    }
    for (int i = 0; i < 2; i++) MUST(semctl(sets[i], 0, IPC_RMID));
    MUST(msgctl(queue, IPC_RMID, NULL));
    return passed();
}
