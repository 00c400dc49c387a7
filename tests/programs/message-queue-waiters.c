/* Processes that wait at POSIX message queues: to receive, to send, until a date; and epoll, which knows what
 * can be done. */
#include "check.h"
#include <mqueue.h>
#include <sys/epoll.h>

static mqd_t empty, full, late;

static int receives(void *unused) {
    (void)unused;
    char room[64];
    unsigned priority;
    return mq_receive(empty, room, sizeof room, &priority) == 3 && priority == 6 && memcmp(room, "new", 3) == 0 ? 0 : 1;
}
static int sends(void *unused) {
    (void)unused;
    return mq_send(full, "waited", 6, 0) == 0 ? 0 : 1;
}
static int times_out(void *unused) {
    (void)unused;
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 4;
    char room[64];
    return mq_timedreceive(late, room, sizeof room, NULL, &end) < 0 && errno == ETIMEDOUT ? 0 : 1;
}

static mqd_t make(const char *name, int flags) {
    struct mq_attr small = {.mq_maxmsg = 2, .mq_msgsize = 64};
    mq_unlink(name);
    mqd_t queue = MUST(mq_open(name, O_RDWR | O_CREAT | O_EXCL | flags, 0600, &small));
    MUST(mq_unlink(name));
    return queue;
}

int main(void) {
    empty = make("/roam-empty", 0);
    full = make("/roam-full", 0);
    late = make("/roam-late", 0);
    MUST(mq_send(full, "first", 5, 0));
    MUST(mq_send(full, "second", 6, 0));
    int epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, empty, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = 1}));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, full, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = 2}));
    int (*const bodies[])(void *) = {receives, sends, times_out};
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = child(bodies[i], NULL);
        while (call_of(pids[i], pids[i]) != (i == 1 ? SYS_mq_timedsend : SYS_mq_timedreceive)) sched_yield();
    }
    ready();
    struct epoll_event events[4];
    int many = MUST(epoll_wait(epoll, events, 4, 0));
    CHECK(many == 2, "%d queues are ready", many);
    for (int i = 0; i < many; i++)
        CHECK(events[i].events == (events[i].data.u32 == 1 ? EPOLLOUT : EPOLLIN), "queue %u: %x", events[i].data.u32, events[i].events);
    CHECK(waitpid(pids[0], NULL, WNOHANG) == 0 && waitpid(pids[1], NULL, WNOHANG) == 0, "one did not wait");
    MUST(mq_send(empty, "new", 3, 6));
    char room[64];
    CHECK(mq_receive(full, room, sizeof room, NULL) == 5 && memcmp(room, "first", 5) == 0, "the order changed");
    for (int i = 0; i < 3; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "waiter %d ended with %x", i, status);
    }
    CHECK(mq_receive(full, room, sizeof room, NULL) == 6 && memcmp(room, "second", 6) == 0, "a message is lost");
    CHECK(mq_receive(full, room, sizeof room, NULL) == 6 && memcmp(room, "waited", 6) == 0, "what the waiter sent is lost");
    return passed();
}
