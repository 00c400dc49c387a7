/* A sandbox of processes as Chromium builds it: a starter in user, pid and network namespaces of its own, with nothing
 * for a root and one capability left that it may take up again, below its namespace's first process; workers that it forks, each
 * the first in a pid namespace of its own, without capabilities and below a filter; memory and sockets passed to
 * them. Messages say who sent them, in the reader's numbers. One more worker is started afterwards. */
#include "filter.h"
#include "namespaces.h"

enum { WORKERS = 3, SYS_ADMIN = 1u << 21 };
static int browser_end, starter_end;

struct shared {
    volatile int counts[WORKERS];
};

/* A message with a descriptor; the number of its sender comes with it. */
static void send_one(int socket, char byte, int passed) {
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (passed >= 0) {
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &passed, sizeof(int));
    }
    CHECK(sendmsg(socket, &message, MSG_NOSIGNAL) == 1, "a message can't be sent");
}

static char receive_one(int socket, int *passed, pid_t *sender) {
    char byte = 0, room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t got;
    while ((got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    CHECK(got == 1, "no message came: %zd", got);
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        struct ucred from;
        if (head->cmsg_type == SCM_RIGHTS && passed) memcpy(passed, CMSG_DATA(head), sizeof(int));
        if (head->cmsg_type == SCM_CREDENTIALS && sender) {
            memcpy(&from, CMSG_DATA(head), sizeof from);
            *sender = from.pid;
        }
    }
    return byte;
}

/* A socket pair whose first end is told of senders. */
static void pair(int ends[2]) {
    int one = 1;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    MUST(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
}

static int chroot_to_own(void *unused) {
    (void)unused;
    return chroot("/proc/self/fdinfo") == 0 && chdir("/") == 0 ? 0 : 1;
}

/* A worker: 'c' counts in the shared memory and answers, 'e' ends. */
static int work(int number, int socket) {
    int memory = -1;
    CHECK(receive_one(socket, &memory, NULL) == 'm' && memory >= 0, "no memory came");
    struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(shared != MAP_FAILED, "no memory");
    set_rights(0, 0, 0);
    MUST(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
    struct sock_filter code[] = {LOAD_NUMBER, ON(SYS_openat, SECCOMP_RET_ERRNO | EACCES),
                                 ON(SYS_socket, SECCOMP_RET_ERRNO | EACCES), RETURN(SECCOMP_RET_ALLOW)};
    MUST(install(code, COUNT(code), SECCOMP_FILTER_FLAG_TSYNC));
    send_one(socket, 'r', -1);
    for (;;) {
        char what = receive_one(socket, NULL, NULL);
        if (what == 'e') return 0;
        CHECK(getpid() == 1 && getppid() == 0, "a worker is %d below %d", getpid(), getppid());
        CHECK(access("/etc", F_OK) < 0, "a worker sees files");
        CHECK(open("/", O_RDONLY) < 0 && errno == EACCES, "a worker's filter is gone");
        CHECK(unshare(CLONE_NEWNET) < 0 && errno == EPERM, "a worker may do something");
        shared->counts[number]++;
        send_one(socket, 'a', -1);
    }
}

/* The starter: forks a worker for each socket that comes. */
static int start(void) {
    set_rights(0, SYS_ADMIN, 0);
    for (int number = 0;; number++) {
        int socket = -1;
        if (receive_one(starter_end, &socket, NULL) == 'e') return 0;
        set_rights(SYS_ADMIN, SYS_ADMIN, 0);
        pid_t worker = (pid_t)MUST(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0));
        if (worker == 0) _exit(work(number, socket));
        set_rights(0, SYS_ADMIN, 0);
        close(socket);
        send_one(starter_end, (char)('a' + worker), -1);
    }
}

/* The first process of the namespace: takes the root away, starts the starter and reaps. */
static int first(void) {
    static char stack[65536] __attribute__((aligned(16)));
    char byte;
    close(browser_end);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    read_all(0, &byte, 1); /* Its maps are written. */
    CHECK(getpid() == 1, "the first process is %d", getpid());
    pid_t helper = MUST(clone(chroot_to_own, stack + sizeof stack, CLONE_FS | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
    int status;
    MUST(waitpid(helper, &status, 0));
    CHECK(status == 0, "the root can't be taken away");
    pid_t starter = MUST(fork());
    if (starter == 0) _exit(start());
    set_rights(0, 0, 0);
    pid_t ended;
    int last = 1;
    while ((ended = waitpid(-1, &status, 0)) > 0 || errno == EINTR)
        if (ended == starter) last = status;
    return last == 0 ? 0 : 9;
}

static void map_user(pid_t pid) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/setgroups", pid);
    /* In a pod it is forbidden already, and may not be said again. */
    int fd = MUST(open(path, O_WRONLY | O_CLOEXEC));
    if (write(fd, "deny", 4) < 0) CHECK(errno == EPERM, "setgroups can't be forbidden");
    close(fd);
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    snprintf(text, sizeof text, "%u %u 1\n", getuid(), getuid());
    write_text(path, text);
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    snprintf(text, sizeof text, "%u %u 1\n", getgid(), getgid());
    write_text(path, text);
}

static int workers[WORKERS];
static pid_t pids[WORKERS];
static struct shared *shared;

static void start_worker(int number, int memory) {
    int ends[2];
    pair(ends);
    workers[number] = ends[0];
    send_one(browser_end, 's', ends[1]);
    close(ends[1]);
    pid_t starter = 0;
    CHECK(receive_one(browser_end, NULL, &starter) > 'a' + 1, "a worker's number in its namespace");
    CHECK(starter > 1 && getpgid(starter) == getpgrp(), "the starter is %d", starter);
    send_one(ends[0], 'm', memory);
    CHECK(receive_one(ends[0], NULL, &pids[number]) == 'r', "a worker is not ready");
    CHECK(pids[number] > starter, "a worker is %d", pids[number]);
}

static void count(int number) {
    pid_t pid = 0;
    int before = shared->counts[number];
    send_one(workers[number], 'c', -1);
    CHECK(receive_one(workers[number], NULL, &pid) == 'a', "no answer of worker %d", number);
    CHECK(pid == pids[number], "worker %d is %d, was %d", number, pid, pids[number]);
    CHECK(shared->counts[number] == before + 1, "worker %d has other memory", number);
    CHECK(kill(pid, 0) == 0, "worker %d is not there", number);
}

int main(void) {
    int ends[2], gate[2];
    pair(ends);
    browser_end = ends[0], starter_end = ends[1];
    MUST(pipe(gate));
    int memory = MUST(memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    MUST(ftruncate(memory, 4096));
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    CHECK(shared != MAP_FAILED, "no memory");
    int flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | SIGCHLD;
    pid_t init = (pid_t)MUST(syscall(SYS_clone, flags, NULL, NULL, NULL, 0));
    if (init == 0) {
        MUST(dup2(gate[0], 0));
        close(gate[0]);
        close(gate[1]);
        _exit(first());
    }
    map_user(init);
    write_all(gate[1], "x", 1);
    close(gate[0]);
    close(gate[1]);
    close(starter_end);
    start_worker(0, memory);
    start_worker(1, memory);
    count(0);
    count(1);
    send_one(workers[1], 'c', -1); /* Its answer may be under way. */
    ready();
    pid_t pid = 0;
    CHECK(receive_one(workers[1], NULL, &pid) == 'a' && pid == pids[1], "the answer came from %d", pid);
    count(0);
    count(1);
    start_worker(2, memory);
    count(2);
    CHECK(shared->counts[0] == 2 && shared->counts[1] == 3 && shared->counts[2] == 1, "the counts are wrong");
    for (int i = 0; i < WORKERS; i++) send_one(workers[i], 'e', -1);
    send_one(browser_end, 'e', -1);
    ends_well(init);
    return passed();
}
