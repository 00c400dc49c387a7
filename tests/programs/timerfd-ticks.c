/* Timer descriptors: several ticks that nobody has read, one in an epoll, a thread blocked in reading one, an
 * absolute one, one that ends when the date is set. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

static int blocked;

static void *reads(void *unused) {
    (void)unused;
    uint64_t ticks;
    read_all(blocked, &ticks, 8);
    CHECK(ticks == 1, "the blocked reader got %llu", (unsigned long long)ticks);
    return NULL;
}

static int info(int fd, const char *name) {
    char path[64], text[512] = {0};
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int file = MUST(open(path, O_RDONLY));
    MUST(read(file, text, sizeof text - 1));
    close(file);
    char *at = strstr(text, name);
    CHECK(at, "fdinfo has no %s", name);
    return (int)strtol(at + strlen(name), NULL, 8);
}

int main(void) {
    int often = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), absolute = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    int date = MUST(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)), once = MUST(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK));
    blocked = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    MUST(timerfd_settime(often, 0, &(struct itimerspec){{0, 10000000}, {0, 10000000}}, NULL));
    int64_t start = now_ms();
    while (now_ms() - start < 60) sched_yield();
    /* From here on it stands still, with what it has counted. */
    MUST(timerfd_settime(blocked, 0, &(struct itimerspec){.it_value = {8, 0}}, NULL));
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    now.tv_sec += 6000;
    MUST(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &(struct itimerspec){.it_value = now}, NULL));
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    wall.tv_sec += 90000;
    MUST(timerfd_settime(date, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &(struct itimerspec){.it_value = wall}, NULL));
    MUST(timerfd_settime(once, 0, &(struct itimerspec){.it_value = {0, 1}}, NULL));
    int epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, once, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 3}));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, absolute, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 4}));
    struct epoll_event event;
    while (epoll_wait(epoll, &event, 1, 5000) != 1) CHECK(errno == EINTR, "the test itself");
    int flags = info(date, "settime flags: ");
    pthread_t thread;
    pthread_create(&thread, NULL, reads, NULL);
    ready();
    uint64_t ticks = 0;
    CHECK(read(often, &ticks, 8) == 8 && ticks >= 6, "ticks are lost: %llu", (unsigned long long)ticks);
    struct itimerspec left;
    MUST(timerfd_gettime(absolute, &left));
    struct timespec then;
    clock_gettime(CLOCK_MONOTONIC, &then);
    int64_t off = then.tv_sec + left.it_value.tv_sec - now.tv_sec;
    CHECK(off >= -1 && off <= 1, "the absolute timer is off by %lld s", (long long)off);
    CHECK(info(date, "settime flags: ") == flags, "it no longer ends when the date is set");
    MUST(timerfd_gettime(date, &left));
    clock_gettime(CLOCK_REALTIME, &then);
    off = then.tv_sec + left.it_value.tv_sec - wall.tv_sec;
    CHECK(off >= -1 && off <= 1, "the date is off by %lld s", (long long)off);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u32 == 3, "the epoll does not tell");
    CHECK(read(once, &ticks, 8) == 8 && ticks == 1, "%llu ticks of one", (unsigned long long)ticks);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0, "it ticked twice");
    pthread_join(thread, NULL);
    return passed();
}
