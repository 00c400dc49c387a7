/* Edges and one-shots: what was not told yet is told, a disarmed entry stays silent until armed, and new edges
 * come. An edge that was told may be told once more: programs read until there is nothing. */
#include "check.h"
#include <sys/epoll.h>

static void watch(int epoll, int operation, int fd, uint32_t events, uint64_t data) {
    MUST(epoll_ctl(epoll, operation, fd, &(struct epoll_event){events, {.u64 = data}}));
}

static unsigned told(int epoll) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, 0);
    unsigned seen = 0;
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    return seen;
}

int main(void) {
    int epoll = MUST(epoll_create1(EPOLL_CLOEXEC)), pipes[5][2];
    for (int i = 0; i < 5; i++) MUST(pipe2(pipes[i], O_NONBLOCK));
    watch(epoll, EPOLL_CTL_ADD, pipes[0][0], EPOLLIN | EPOLLET, 0);
    watch(epoll, EPOLL_CTL_ADD, pipes[1][0], EPOLLIN | EPOLLET, 1);
    watch(epoll, EPOLL_CTL_ADD, pipes[2][0], EPOLLIN | EPOLLONESHOT, 2);
    watch(epoll, EPOLL_CTL_ADD, pipes[3][0], EPOLLIN | EPOLLONESHOT | EPOLLET, 3);
    watch(epoll, EPOLL_CTL_ADD, pipes[4][0], EPOLLIN | EPOLLRDHUP | EPOLLET, 4);
    write_all(pipes[0][1], "told", 4);
    write_all(pipes[2][1], "shot", 4);
    CHECK(told(epoll) == 5, "the test itself");
    write_all(pipes[1][1], "not told", 8);
    write_all(pipes[3][1], "not shot", 8);
    ready();
    unsigned now = told(epoll);
    CHECK((now & ~1u) == 10, "told: %x, not 1 and 3", now);
    now = told(epoll);
    CHECK(now == 0, "told again: %x", now);
    write_all(pipes[0][1], "x", 1);
    write_all(pipes[2][1], "x", 1);
    write_all(pipes[3][1], "x", 1);
    write_all(pipes[4][1], "x", 1);
    now = told(epoll);
    CHECK(now == 17, "new edges: %x, not 0 and 4", now);
    watch(epoll, EPOLL_CTL_MOD, pipes[2][0], EPOLLIN | EPOLLONESHOT, 2);
    now = told(epoll);
    CHECK(now == 4, "armed again it tells %x", now);
    CHECK(told(epoll) == 0, "a shot comes twice");
    close(pipes[4][1]);
    now = told(epoll);
    CHECK(now == 16, "the end of a pipe tells %x", now);
    return passed();
}
