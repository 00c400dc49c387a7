/* Requests of asynchronous I/O that end by themselves while the program stands still: they wait for timers that go off
 * all the time. None is lost, none comes twice; what tells of their ends (IOCB_FLAG_RESFD) tells of each, and what they
 * waited for is there. */
#include "check.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

enum { REQUESTS = 16, LONGEST_MS = 100 };
static struct iocb requests[REQUESTS];
static int timers[REQUESTS], told;
static bool under_way[REQUESTS];
static aio_context_t context;
static volatile bool stop;
static uint64_t ended, signalled;

static void submit(unsigned i) {
    struct itimerspec soon = {.it_value.tv_nsec = (1 + (i * 37 + ended * 13) % LONGEST_MS) * 1000000};
    MUST(timerfd_settime(timers[i], 0, &soon, NULL));
    requests[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_POLL, .aio_data = i, .aio_fildes = (uint32_t)timers[i]};
    requests[i].aio_buf = POLLIN;
    requests[i].aio_flags = IOCB_FLAG_RESFD;
    requests[i].aio_resfd = (uint32_t)told;
    struct iocb *list[] = {&requests[i]};
    CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "request %u is not taken", i);
    under_way[i] = true;
}

/* Waits as event loops do: for the counter, then takes what is there. */
static void take(void) {
    struct pollfd ready = {told, POLLIN, 0};
    int count;
    while ((count = poll(&ready, 1, 20000)) < 0 && errno == EINTR) {
    }
    CHECK(count == 1, "nobody tells of an end after %llu", (unsigned long long)ended);
    uint64_t by;
    CHECK(read(told, &by, sizeof by) == sizeof by, "the counter");
    signalled += by;
    struct io_event events[REQUESTS];
    struct timespec limit = {20, 0};
    while (by > 0) {
        long got = syscall(SYS_io_getevents, context, 1, (long)by, events, &limit);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got > 0, "%llu ends were told of that are not there", (unsigned long long)by);
        for (long e = 0; e < got; e++) {
            unsigned i = (unsigned)events[e].data;
            CHECK(i < REQUESTS && under_way[i] && events[e].obj == (uintptr_t)&requests[i], "request %u ends twice", i);
            uint64_t times;
            CHECK(events[e].res & POLLIN && read(timers[i], &times, sizeof times) == sizeof times && times == 1,
                  "timer %u did not go off, %lld", i, (long long)events[e].res);
            under_way[i] = false;
        }
        ended += (uint64_t)got;
        by -= (uint64_t)got;
    }
}

static void *work(void *unused) {
    (void)unused;
    bool any = true;
    while (any) {
        any = false;
        for (unsigned i = 0; i < REQUESTS; i++) {
            if (!under_way[i] && !stop) submit(i);
            any |= under_way[i];
        }
        if (any) take();
    }
    return NULL;
}

int main(void) {
    MUST(syscall(SYS_io_setup, REQUESTS, &context));
    told = MUST(eventfd(0, EFD_NONBLOCK));
    for (int i = 0; i < REQUESTS; i++) timers[i] = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    ready();
    stop = true;
    pthread_join(thread, NULL);
    CHECK(ended == signalled && ended >= REQUESTS, "%llu ends, told of %llu", (unsigned long long)ended, (unsigned long long)signalled);
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 0, 1, &event, &(struct timespec){0, 0}) == 0, "an event too many");
    MUST(syscall(SYS_io_destroy, context));
    return passed();
}
