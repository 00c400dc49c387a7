/* A thousand entries in an epoll, each with its own data and events; a few become ready. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { COUNT = 1000 };

int main(void) {
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    int epoll = MUST(epoll_create1(0));
    static int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = MUST(eventfd(0, 0));
        struct epoll_event event = {i % 3 ? EPOLLIN : EPOLLIN | EPOLLET, {.u64 = 0x100000000u * (unsigned)i + 7}};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event));
    }
    ready();
    static struct epoll_event events[COUNT];
    CHECK(epoll_wait(epoll, events, COUNT, 0) == 0, "something is ready");
    uint64_t one = 1;
    for (int i = 0; i < COUNT; i += 10) write_all(fds[i], &one, 8);
    int count = epoll_wait(epoll, events, COUNT, 0);
    CHECK(count == COUNT / 10, "%d are ready", count);
    static bool seen[COUNT];
    for (int i = 0; i < count; i++) {
        uint64_t index = events[i].data.u64 >> 32;
        CHECK((uint32_t)events[i].data.u64 == 7 && index < COUNT && index % 10 == 0 && !seen[index], "entry %llx",
              (unsigned long long)events[i].data.u64);
        seen[index] = true;
    }
    count = epoll_wait(epoll, events, COUNT, 0);
    CHECK(count == 66, "%d are ready again, the edges among them", count);
    for (int i = 0; i < COUNT; i++) MUST(epoll_ctl(epoll, EPOLL_CTL_DEL, fds[i], NULL));
    return passed();
}
