/* Handles of threads (PIDFD_THREAD): of the leader and of another, under two numbers and in a second process. Each tells of
 * the end of its own thread. */
#include "check.h"
#include <poll.h>

#define PIDFD_THREAD O_EXCL

static pthread_barrier_t up, down;
static pid_t tid;

static void *run(void *unused) {
    (void)unused;
    tid = gettid();
    pthread_barrier_wait(&up);
    pthread_barrier_wait(&down);
    return NULL;
}

static int go[2];

/* Holds the same handle. */
static int other(void *handle) {
    char byte;
    read_all(go[1], &byte, 1);
    struct pollfd one = {.fd = *(int *)handle, .events = POLLIN};
    CHECK(poll(&one, 1, 20000) == 1, "the other process's handle does not tell of the end");
    return 0;
}

int main(void) {
    pthread_barrier_init(&up, NULL, 2);
    pthread_barrier_init(&down, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&up);
    int handle = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
    if (handle < 0 && errno == EINVAL) {
        /* Before Linux 6.9. */
        ready();
        pthread_barrier_wait(&down);
        return passed();
    }
    MUST(handle);
    int leader = MUST((int)syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD)), second = MUST(dup(handle));
    MUST(fcntl(second, F_SETFD, FD_CLOEXEC));
    MUST(fcntl(handle, F_SETFD, 0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(other, &handle);
    ready();
    CHECK(fcntl(second, F_GETFD) == FD_CLOEXEC && fcntl(handle, F_GETFD) == 0, "close-on-exec changed");
    struct pollfd both[] = {{.fd = second, .events = POLLIN}, {.fd = leader, .events = POLLIN}};
    CHECK(poll(both, 2, 0) == 0, "a thread seems to have ended");
    pthread_barrier_wait(&down);
    pthread_join(thread, NULL);
    CHECK(poll(both, 2, 20000) == 1 && both[0].revents && !both[1].revents, "the end of the thread is not told");
    write_all(go[0], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child ended with %x", status);
    return passed();
}
