/* epoll: what is watched and how, data, one-shot and edge, one epoll in another. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static void watch(int epoll, int fd, uint32_t events, uint64_t data) {
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){events, {.u64 = data}}));
}

int main(void) {
    int epoll = MUST(epoll_create1(EPOLL_CLOEXEC)), outer = MUST(epoll_create1(0));
    int level = MUST(eventfd(1, 0)), quiet = MUST(eventfd(0, 0)), once = MUST(eventfd(1, 0)), off = MUST(eventfd(1, 0));
    int ends[2];
    MUST(pipe(ends));
    struct epoll_event events[8];
    watch(epoll, once, EPOLLIN | EPOLLONESHOT, 0xabcdef0123456789);
    CHECK(epoll_wait(epoll, events, 8, 0) == 1, "the test itself");
    watch(epoll, level, EPOLLIN, 1);
    watch(epoll, quiet, EPOLLIN, 2);
    watch(epoll, ends[0], EPOLLIN | EPOLLET, 3);
    watch(epoll, off, EPOLLIN, 4);
    MUST(epoll_ctl(epoll, EPOLL_CTL_DEL, off, NULL));
    int copy = MUST(dup(quiet));
    watch(epoll, copy, EPOLLIN, 5);
    watch(outer, epoll, EPOLLIN, 100);
    ready();
    CHECK(epoll_wait(outer, events, 8, 0) == 1 && events[0].data.u64 == 100, "the outer one sees nothing");
    CHECK(epoll_wait(epoll, events, 8, 0) == 1 && events[0].data.u64 == 1, "not the one that is ready");
    uint64_t one = 1;
    write_all(quiet, &one, 8);
    write_all(ends[1], "x", 1);
    uint64_t seen = 0;
    int count = epoll_wait(epoll, events, 8, 0);
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    CHECK(count == 4 && seen == (2 | 4 | 8 | 32), "%d events: %llx", count, (unsigned long long)seen);
    seen = 0;
    count = epoll_wait(epoll, events, 8, 0);
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    CHECK(!(seen & 8), "an edge is told twice");
    MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, once, &(struct epoll_event){EPOLLIN, {.u64 = 6}}));
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, level, &events[0]) < 0 && errno == EEXIST, "a watch is lost");
    CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, off, NULL) < 0 && errno == ENOENT, "a removed watch is back");
    return passed();
}
