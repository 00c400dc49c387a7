/* An epoll that waits for the end of a thread by its handle. */
#include "check.h"
#include <sys/epoll.h>

static pthread_barrier_t up, down;
static pid_t tid;

static void *run(void *unused) {
    (void)unused;
    tid = gettid();
    pthread_barrier_wait(&up);
    pthread_barrier_wait(&down);
    return NULL;
}

int main(void) {
    pthread_barrier_init(&up, NULL, 2);
    pthread_barrier_init(&down, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&up);
    /* PIDFD_THREAD: from Linux 6.9 on. */
    int handle = MUST((int)syscall(SYS_pidfd_open, tid, O_EXCL)), set = MUST(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, handle, &event));
    expect_refusal("it waits for a file or handle of a thread that is not the first of its process");
    ready();
    CHECK(epoll_wait(set, &event, 1, 0) == 0, "epoll tells of an end");
    pthread_barrier_wait(&down);
    pthread_join(thread, NULL);
    CHECK(epoll_wait(set, &event, 1, 20000) == 1 && event.data.u64 == 77, "epoll does not tell of the end");
    return passed();
}
