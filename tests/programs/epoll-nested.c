/* Epolls in epolls in epolls, one in two others, and one in flight; waiting in the outermost. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int chain[4];

static int waiter(void *unused) {
    (void)unused;
    struct epoll_event event;
    int count = epoll_wait(chain[3], &event, 1, -1);
    return count == 1 ? (int)event.data.u64 : 1;
}

int main(void) {
    int source = MUST(eventfd(0, 0)), side = MUST(epoll_create1(0));
    for (int i = 0; i < 4; i++) chain[i] = MUST(epoll_create1(0));
    MUST(epoll_ctl(chain[0], EPOLL_CTL_ADD, source, &(struct epoll_event){EPOLLIN, {.u64 = 40}}));
    for (int i = 1; i < 4; i++)
        MUST(epoll_ctl(chain[i], EPOLL_CTL_ADD, chain[i - 1], &(struct epoll_event){EPOLLIN, {.u64 = 40u + (unsigned)i}}));
    MUST(epoll_ctl(side, EPOLL_CTL_ADD, chain[1], &(struct epoll_event){EPOLLIN | EPOLLET, {.u64 = 50}}));
    int exclusive[2];
    for (int i = 0; i < 2; i++) {
        exclusive[i] = MUST(epoll_create1(0));
        MUST(epoll_ctl(exclusive[i], EPOLL_CTL_ADD, source, &(struct epoll_event){EPOLLIN | EPOLLEXCLUSIVE, {.u64 = 60}}));
    }
    pid_t pid = child(waiter, NULL);
    ready();
    struct epoll_event event;
    CHECK(epoll_wait(side, &event, 1, 0) == 0 && epoll_wait(exclusive[0], &event, 1, 0) == 0, "something is ready");
    uint64_t one = 1;
    write_all(source, &one, 8);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 43, "the waiting one ended with %x", status);
    for (int i = 0; i < 4; i++) CHECK(epoll_wait(chain[i], &event, 1, 0) == 1 && event.data.u64 == 40u + (unsigned)i, "epoll %d", i);
    CHECK(epoll_wait(side, &event, 1, 0) == 1 && event.data.u64 == 50, "the side one tells nothing");
    CHECK(epoll_wait(side, &event, 1, 0) == 0, "the side one tells its edge twice");
    for (int i = 0; i < 2; i++) {
        CHECK(epoll_wait(exclusive[i], &event, 1, 0) == 1 && event.data.u64 == 60, "exclusive one %d", i);
        CHECK(epoll_ctl(exclusive[i], EPOLL_CTL_MOD, source, &event) < 0 && errno == EINVAL, "it is not exclusive any more");
    }
    return passed();
}
