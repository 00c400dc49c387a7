/* An epoll server: listener, connections, a pipe and a signalfd in one epoll, with what is ready already. */
#include "inet.h"
#include <sys/epoll.h>
#include <sys/signalfd.h>

static int epoll;

static void watch(int fd, uint32_t events, uint64_t data) {
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){events, {.u64 = data}}));
}

static unsigned told(void) {
    struct epoll_event events[16];
    int count = epoll_wait(epoll, events, 16, 0);
    unsigned seen = 0;
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    return seen;
}

int main(void) {
    epoll = MUST(epoll_create1(0));
    int listener = listen_on(AF_INET, 4), tcp[2], local[2], ends[2];
    tcp[0] = call(AF_INET, port_of(listener, false));
    tcp[1] = MUST(accept(listener, NULL, NULL));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, local));
    MUST(pipe(ends));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = MUST(signalfd(-1, &set, SFD_NONBLOCK));
    watch(listener, EPOLLIN, 0);
    watch(tcp[1], EPOLLIN | EPOLLRDHUP, 1);
    watch(local[1], EPOLLIN, 2);
    watch(ends[0], EPOLLIN, 3);
    watch(signals, EPOLLIN, 4);
    watch(tcp[0], EPOLLOUT | EPOLLET, 5);
    CHECK(told() == 32, "the test itself");
    write_all(tcp[0], "request", 7);
    await(tcp[1], POLLIN);
    ready();
    unsigned now = told();
    CHECK((now & ~32u) == 2, "ready are %x", now);
    char text[16];
    read_all(tcp[1], text, 7);
    CHECK(told() == 0, "what was read is still ready");
    int fresh = call(AF_INET, port_of(listener, false));
    write_all(local[0], "x", 1);
    write_all(ends[1], "x", 1);
    kill(getpid(), SIGUSR1);
    now = told();
    CHECK(now == 29, "ready are %x, not 0, 2, 3 and 4", now);
    int taken = MUST(accept(listener, NULL, NULL));
    close(tcp[0]);
    await(tcp[1], POLLRDHUP);
    now = told();
    CHECK(now == 30, "ready are %x, not 1, 2, 3 and 4", now);
    close(fresh);
    close(taken);
    return passed();
}
