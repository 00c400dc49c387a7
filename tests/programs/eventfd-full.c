/* A full event counter: a writer that waits for room, a reader that waits for a count, an epoll that
 * knows which of them can go on; a semaphore shared by three. */
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int full, empty, semaphore;
static const uint64_t MOST = UINT64_MAX - 1;

static int writes(void *unused) {
    (void)unused;
    uint64_t five = 5;
    return write(full, &five, 8) == 8 ? 0 : 1;
}

static int reads(void *unused) {
    (void)unused;
    uint64_t value = 0;
    return read(empty, &value, 8) == 8 && value == 12 ? 0 : 1;
}

static int takes(void *unused) {
    (void)unused;
    uint64_t value = 0;
    return read(semaphore, &value, 8) == 8 && value == 1 ? 0 : 1;
}

int main(void) {
    full = MUST(eventfd(0, 0));
    empty = MUST(eventfd(0, 0));
    semaphore = MUST(eventfd(0, EFD_SEMAPHORE));
    write_all(full, &MOST, 8);
    int epoll = MUST(epoll_create1(0));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, full, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = 1}));
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, empty, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT, .data.u32 = 2}));
    pid_t pids[] = {child(writes, NULL), child(reads, NULL), child(takes, NULL), child(takes, NULL)};
    ready();
    struct epoll_event events[4];
    int many = MUST(epoll_wait(epoll, events, 4, 0));
    CHECK(many == 2, "%d counters are ready", many);
    for (int i = 0; i < many; i++)
        CHECK(events[i].events == (events[i].data.u32 == 1 ? EPOLLIN : EPOLLOUT), "counter %u: %x", events[i].data.u32,
              events[i].events);
    uint64_t value;
    read_all(full, &value, 8);
    CHECK(value == MOST, "the full counter had %llx", (unsigned long long)value);
    int status;
    MUST(waitpid(pids[0], &status, 0));
    CHECK(status == 0, "the writer that waited ended with %x", status);
    read_all(full, &value, 8);
    CHECK(value == 5, "the writer that waited wrote %llu", (unsigned long long)value);
    value = 12;
    write_all(empty, &value, 8);
    MUST(waitpid(pids[1], &status, 0));
    CHECK(status == 0, "the reader that waited ended with %x", status);
    value = 2;
    write_all(semaphore, &value, 8);
    for (int i = 2; i < 4; i++) {
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "a taker ended with %x", status);
    }
    struct pollfd now = {semaphore, POLLIN, 0};
    CHECK(poll(&now, 1, 0) == 0, "the semaphore gives more than it had");
    return passed();
}
