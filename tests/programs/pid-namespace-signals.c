/* Numbers of processes in what the kernel keeps for a process in a pid namespace of its own: senders of signals that
 * wait, owners of files, threads that timers signal, credentials of messages and peers, handles, locks, and the owner of
 * a mutex. Each is told in its own numbering. */
#include "namespaces.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef F_SETOWN_EX
#define F_SETOWN_EX 15
#define F_GETOWN_EX 16
struct f_owner_ex {
    int type;
    pid_t pid;
};
#endif
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static struct steps *steps[2];
static int across[2], lock_file;

static void send_with_credentials(int fd) {
    char byte = 'c';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    MUST(sendmsg(fd, &message, 0));
}

static struct ucred receive_credentials(int fd) {
    char byte, room[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    MUST(recvmsg(fd, &message, 0));
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    CHECK(head && head->cmsg_type == SCM_CREDENTIALS, "no credentials");
    struct ucred credentials;
    memcpy(&credentials, CMSG_DATA(head), sizeof credentials);
    return credentials;
}

static pthread_mutex_t *mutex;

static int holder(void *unused) {
    (void)unused;
    MUST(kill(1, SIGUSR1));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    MUST(fcntl(lock_file, F_SETLK, &lock));
    CHECK(pthread_mutex_lock(mutex) == 0, "it does not get the mutex");
    prepared(steps[1]);
    CHECK(pthread_mutex_unlock(mutex) == 0, "the mutex is another's");
    CHECK(getppid() == 1, "it is below %d", getppid());
    MUST(kill(1, SIGUSR1));
    prepared(steps[1]);
    return 0;
}

static int first(void *unused) {
    (void)unused;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = child(holder, NULL);
    until_prepared(steps[1]);
    CHECK(pid == 2, "the second is %d", pid);
    int pair[2], on = 1;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    send_with_credentials(pair[1]);
    struct f_owner_ex owner = {1, pid}, own = {0, gettid()}, now;
    MUST(fcntl(pair[0], F_SETOWN_EX, &owner));
    MUST(fcntl(pair[1], F_SETOWN_EX, &own));
    int handle = MUST((int)syscall(SYS_pidfd_open, pid, 0));
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
    event.sigev_notify_thread_id = gettid();
    MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
    send_with_credentials(across[1]);
    prepared(steps[0]);
    CHECK(getpid() == 1, "it is %d", getpid());
    siginfo_t info;
    CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == 2, "the signal is %d's", info.si_pid);
    struct ucred credentials = receive_credentials(pair[0]);
    CHECK(credentials.pid == 1 && credentials.uid == getuid(), "the message is of %d, user %u", credentials.pid,
          credentials.uid);
    socklen_t length = sizeof credentials;
    MUST(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    CHECK(credentials.pid == 1 && credentials.uid == 0, "the peer is %d, user %u", credentials.pid, credentials.uid);
    MUST(fcntl(pair[0], F_GETOWN_EX, &now));
    CHECK(now.type == 1 && now.pid == 2, "the owner is %d", now.pid);
    MUST(fcntl(pair[1], F_GETOWN_EX, &now));
    CHECK(now.type == 0 && now.pid == 1, "the thread that owns is %d", now.pid);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    MUST(fcntl(lock_file, F_GETLK, &lock));
    CHECK(lock.l_type == F_WRLCK && lock.l_pid == 2, "the lock is %d's", lock.l_pid);
    struct itimerspec soon = {.it_value = {0, 1000000}};
    MUST(timer_settime(timer, 0, &soon, NULL));
    CHECK(sigwaitinfo(&set, &info) == SIGRTMIN, "another signal came");
    go_on(steps[1]);
    until_prepared(steps[1]);
    CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == 2, "the signal is %d's now", info.si_pid);
    CHECK(pthread_mutex_lock(mutex) == 0, "the mutex is not free");
    MUST((int)syscall(SYS_pidfd_send_signal, handle, SIGKILL, NULL, 0));
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGKILL, "the handle was of another: %x", status);
    return 0;
}

static int maker(void *argument) {
    new_user(CLONE_NEWPID, 0, 0);
    pid_t pid = child(first, NULL);
    until_prepared(steps[0]);
    int handle = MUST((int)syscall(SYS_pidfd_open, pid, 0));
    prepared(argument);
    struct ucred credentials = receive_credentials(across[0]);
    CHECK(credentials.pid == pid, "the message from within is of %d, not %d", credentials.pid, pid);
    go_on(steps[0]);
    siginfo_t info;
    MUST(waitid(3 /* P_PIDFD */, (id_t)handle, &info, WEXITED));
    CHECK(info.si_code == CLD_EXITED && info.si_status == 0, "it ended with %d", info.si_status);
    return 0;
}

int main(void) {
    int on = 1;
    for (int i = 0; i < 2; i++) steps[i] = new_steps();
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, across));
    MUST(setsockopt(across[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    lock_file = MUST(open(in_folder("locked"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    MUST(ftruncate(lock_file, 100));
    mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(mutex != MAP_FAILED, "no shared memory");
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attributes);
    struct steps *own = new_steps();
    pid_t pid = child(maker, own);
    until_prepared(own);
    ready();
    go_on(own);
    ends_well(pid);
    return passed();
}
