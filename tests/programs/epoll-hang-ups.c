/* One-shot entries that have told their event are silent until they are armed anew, also when the other side hangs up
 * meanwhile: whoever took the event has the connection for itself. Unix and TCP sockets, pipes, one in two epolls, one
 * whose number is closed. */
#include "inet.h"
#include <sys/epoll.h>
#include <sys/un.h>

enum { UNIX, TCP, PIPE, STALE, EDGE, TWICE, ALL };

static int epolls[2], ends[ALL][2];

static void watch(int epoll, int operation, int which, uint32_t events) {
    struct epoll_event event = {events | (which == EDGE ? EPOLLET : 0), {.u64 = (uint64_t)which}};
    MUST(epoll_ctl(epoll, operation, ends[which][0], &event));
}

static unsigned told(int epoll) {
    struct epoll_event events[ALL + 1];
    int count = epoll_wait(epoll, events, ALL + 1, 0);
    unsigned seen = 0;
    for (int i = 0; i < count; i++) seen |= 1u << events[i].data.u64;
    return seen;
}

/* The events of each entry, as /proc tells them. */
static unsigned long events_of(int epoll, int number) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
    FILE *file = fopen(path, "re");
    unsigned long events = ~0ul;
    int target;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "tfd: %d events: %lx", &target, &events) == 2 && target == number) break;
    fclose(file);
    return events;
}

int main(void) {
    char byte;
    for (int i = 0; i < 2; i++) epolls[i] = MUST(epoll_create1(EPOLL_CLOEXEC));
    int armed[2], nested = MUST(epoll_create1(0));
    MUST(pipe(armed));
    for (int i = 0; i < ALL; i++) {
        if (i == TCP) connection(AF_INET, ends[i]);
        else if (i == PIPE) MUST(pipe(ends[i]));
        else MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]));
        watch(epolls[0], EPOLL_CTL_ADD, i, EPOLLIN | EPOLLONESHOT);
        write_all(ends[i][1], "x", 1);
        await(ends[i][0], POLLIN);
    }
    watch(epolls[1], EPOLL_CTL_ADD, TWICE, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
    CHECK(told(epolls[0]) == (1u << ALL) - 1 && told(epolls[1]) == 1u << TWICE, "the test itself");
    for (int i = 0; i < ALL; i++) read_all(ends[i][0], &byte, 1);
    /* The entry stays, by a number that means nothing now. */
    int number = ends[STALE][0];
    ends[STALE][0] = MUST(dup(number));
    close(number);
    MUST(epoll_ctl(epolls[0], EPOLL_CTL_ADD, armed[0], &(struct epoll_event){EPOLLIN, {.u64 = ALL}}));
    MUST(epoll_ctl(nested, EPOLL_CTL_ADD, epolls[0], &(struct epoll_event){EPOLLIN, {.u64 = 7}}));
    CHECK(events_of(epolls[0], ends[UNIX][0]) == EPOLLONESHOT, "the test itself");
    ready();
    struct epoll_event event;
    for (int i = 0; i < ALL; i++) {
        unsigned long events = events_of(epolls[0], i == STALE ? number : ends[i][0]);
        CHECK(events == (EPOLLONESHOT | (i == EDGE ? EPOLLET : 0)), "entry %d waits for %lx", i, events);
    }
    CHECK(told(epolls[0]) == 0 && told(epolls[1]) == 0, "something is told");
    for (int i = 0; i < ALL; i++) close(ends[i][1]);
    await(ends[TCP][0], POLLIN);
    unsigned now = told(epolls[0]);
    CHECK(now == 0, "hang-ups of %x are told to a second thread", now);
    now = told(epolls[1]);
    CHECK(now == 0, "hang-ups of %x are told to a second thread", now);
    CHECK(epoll_wait(nested, &event, 1, 0) == 0, "the outer one tells something");
    for (int i = 0; i < ALL; i++)
        if (i != STALE) watch(epolls[0], EPOLL_CTL_MOD, i, EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
    watch(epolls[1], EPOLL_CTL_MOD, TWICE, EPOLLRDHUP | EPOLLONESHOT);
    write_all(armed[1], "x", 1);
    CHECK(epoll_wait(nested, &event, 1, 0) == 1 && event.data.u64 == 7, "the outer one tells nothing");
    now = told(epolls[0]);
    CHECK(now == ((1u << (ALL + 1)) - 1 - (1u << STALE)), "armed anew, only %x are told", now);
    now = told(epolls[1]);
    CHECK(now == 1u << TWICE, "armed anew in the second one, %x is told", now);
    return passed();
}
