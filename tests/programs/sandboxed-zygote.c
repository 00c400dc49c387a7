/* What Chromium's zygote is: cloned into user, pid and net namespaces of its own and gone one user namespace further,
 * rooted in an empty folder that is gone, without any capability, with a filter; its children talk with it and with the
 * browser, and one is in a pid namespace below its own, in the network that is older than that. */
#include "filter.h"
#include "namespaces.h"
#include <linux/sched.h>

static struct steps *steps[3];
static int to_browser[2];

static long clone_into(uint64_t flags) {
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
    return syscall(SYS_clone3, &arguments, sizeof arguments);
}

/* As Chromium does it: a child that shares the root goes into a folder of /proc that ends with it. */
static void wall_in(void) {
    long pid = clone_into(CLONE_FS);
    CHECK(pid >= 0, "no child");
    if (pid == 0) {
        MUST(chroot("/proc/self/fdinfo"));
        MUST(chdir("/"));
        _exit(0);
    }
    ends_well((pid_t)pid);
    CHECK(open("/proc", O_RDONLY) < 0 && open("/new", O_CREAT | O_WRONLY, 0600) < 0, "it is not walled in");
}

static void say(int fd, const char *text) { write_all(fd, text, strlen(text) + 1); }

static void hear(int fd, const char *text) {
    char room[64] = {0};
    read_all(fd, room, strlen(text) + 1);
    CHECK(strcmp(room, text) == 0, "%s came as %s", text, room);
}

/* So many that they do not end in the order in which they were made. */
enum { THREADS = 12 };
static pthread_barrier_t barrier;

static void *thread(void *unused) {
    (void)unused;
    pid_t was = gettid();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    CHECK(gettid() == was, "a thread was %d and is %d", was, gettid());
    return NULL;
}

static void still_walled_in(const char *rights_before) {
    char now[256];
    rights(now, sizeof now);
    CHECK(strcmp(rights_before, now) == 0, "it had %s and has %s", rights_before, now);
    CHECK(open("/", O_RDONLY) < 0 || access("/proc", F_OK) < 0, "it sees files");
    CHECK(open("/new", O_CREAT | O_WRONLY, 0600) < 0, "it can make files");
    CHECK(chroot("/") < 0, "it may change its root");
    CHECK(is_forbidden(SYS_sync, EPERM), "its filter is gone");
    CHECK(unshare(CLONE_NEWUTS) < 0, "it may make namespaces");
}

static void renderer(int which, int to_zygote) {
    pid_t was = getpid();
    CHECK(which == 1 ? was == 4 : was == 1, "renderer %d is %d", which, was);
    char before[256];
    rights(before, sizeof before);
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&ids[i], NULL, thread, NULL);
    pthread_barrier_wait(&barrier);
    say(to_zygote, "before");
    int own[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, own));
    prepared(steps[which]);
    CHECK(getpid() == was, "renderer %d was %d and is %d", which, was, getpid());
    still_walled_in(before);
    struct ucred peer;
    socklen_t length = sizeof peer;
    MUST(getsockopt(own[0], SOL_SOCKET, SO_PEERCRED, &peer, &length));
    CHECK(peer.pid == was && peer.uid == getuid(), "its own socket is of %d, user %u", peer.pid, peer.uid);
    say(own[0], "itself");
    hear(own[1], "itself");
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) pthread_join(ids[i], NULL);
    say(to_zygote, "after");
    say(to_browser[1], "a renderer");
    _exit(0);
}

static void zygote(unsigned uid, unsigned gid) {
    char text[64];
    snprintf(text, sizeof text, "%u %u 1\n", uid, uid);
    write_text("/proc/self/uid_map", text);
    int fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "deny", 4) < 0) CHECK(errno == EPERM, "setgroups can't be forbidden");
    if (fd >= 0) close(fd);
    snprintf(text, sizeof text, "%u %u 1\n", gid, gid);
    write_text("/proc/self/gid_map", text);
    CHECK(getpid() == 1 && getuid() == uid, "it is %d, user %u", getpid(), getuid());
    /* In the one above, which owns its pid and net namespaces, there is nobody any more. */
    new_user(0, uid, gid);
    wall_in();
    pid_t ended = fork();
    if (ended == 0) _exit(0);
    ends_well(ended);
    int pairs[2][2];
    for (int i = 0; i < 2; i++) MUST(socketpair(AF_UNIX, i ? SOCK_SEQPACKET : SOCK_STREAM, 0, pairs[i]));
    /* One more namespace, while it may. */
    pid_t pids[2];
    pids[0] = fork();
    CHECK(pids[0] >= 0, "no renderer");
    if (pids[0] == 0) {
        set_rights(0, 0, 0);
        forbid(SYS_sync, EPERM);
        renderer(1, pairs[0][1]);
    }
    pids[1] = (pid_t)clone_into(CLONE_NEWPID);
    CHECK(pids[1] >= 0, "no walled renderer");
    if (pids[1] == 0) {
        set_rights(0, 0, 0);
        forbid(SYS_sync, EPERM);
        renderer(2, pairs[1][1]);
    }
    set_rights(0, 0, 0);
    forbid(SYS_sync, EPERM);
    char before[256];
    rights(before, sizeof before);
    for (int i = 1; i < 3; i++) until_prepared(steps[i]);
    say(to_browser[1], "the zygote");
    prepared(steps[0]);
    CHECK(getpid() == 1 && getppid() == 0, "it is %d below %d", getpid(), getppid());
    still_walled_in(before);
    for (int i = 0; i < 2; i++) hear(pairs[i][0], "before");
    for (int i = 0; i < 2; i++) {
        go_on(steps[i + 1]);
        hear(pairs[i][0], "after");
        ends_well(pids[i]);
    }
    pid_t another = fork();
    if (another == 0) _exit(0);
    ends_well(another);
    _exit(0);
}

int main(void) {
    for (int i = 0; i < 3; i++) steps[i] = new_steps();
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, to_browser));
    unsigned uid = getuid(), gid = getgid();
    pid_t pid = (pid_t)clone_into(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET);
    CHECK(pid >= 0, "no zygote");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        zygote(uid, gid);
    }
    until_prepared(steps[0]);
    ready();
    hear(to_browser[0], "the zygote");
    go_on(steps[0]);
    for (int i = 0; i < 2; i++) hear(to_browser[0], "a renderer");
    ends_well(pid);
    return passed();
}
