/* Entries and their numbers: one file under two numbers, a closed number whose file lives on in a copy, a number
 * that means another file by now, one added by a child under a number that only it has. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int epoll, go[2], back[2];

static void watch(int fd, uint64_t data) { MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.u64 = data}})); }

static unsigned told(void) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, 0);
    unsigned seen = 0;
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    return seen;
}

static int other(void *unused) {
    (void)unused;
    int own = MUST(eventfd(0, 0));
    MUST(dup2(own, 300));
    close(own);
    watch(300, 5);
    write_all(back[1], "x", 1);
    char byte;
    read_all(go[0], &byte, 1);
    uint64_t one = 1;
    write_all(300, &one, 8);
    write_all(back[1], "x", 1);
    read_all(go[0], &byte, 1);
    return 0;
}

int main(void) {
    epoll = MUST(epoll_create1(0));
    MUST(pipe(go));
    MUST(pipe(back));
    int twice = MUST(eventfd(0, 0)), second = MUST(dup(twice)), closed = MUST(eventfd(0, 0)), copy = MUST(dup(closed));
    watch(twice, 1);
    watch(second, 2);
    watch(closed, 3);
    close(closed);
    /* The freed number is another file now, which is watched as well. */
    int reused = MUST(eventfd(0, 0));
    CHECK(reused == closed, "the test itself");
    watch(reused, 4);
    pid_t pid = child(other, NULL);
    char byte;
    read_all(back[0], &byte, 1);
    ready();
    CHECK(told() == 0, "something is ready");
    uint64_t one = 1, value;
    write_all(twice, &one, 8);
    CHECK(told() == 6, "one file under two numbers tells %x", told());
    read_all(second, &value, 8);
    write_all(copy, &one, 8);
    CHECK(told() == 8, "the closed number tells %x", told());
    read_all(copy, &value, 8);
    write_all(reused, &one, 8);
    CHECK(told() == 16, "the number used again tells %x", told());
    read_all(reused, &value, 8);
    write_all(go[1], "x", 1);
    read_all(back[0], &byte, 1);
    CHECK(told() == 32, "the child's tells %x", told());
    MUST(epoll_ctl(epoll, EPOLL_CTL_DEL, second, NULL));
    write_all(twice, &one, 8);
    CHECK(told() == 34, "without its second number it tells %x", told());
    end_child(pid);
    CHECK(told() == 2, "with the child its entry is gone: %x", told());
    return passed();
}
