/* Contexts of the kernel's asynchronous I/O: events that nobody has read, in a ring that has gone round; requests that
 * write and read a file; a thread that waits; a small ring and a large one; whose the ring is after a fork; and the
 * kernel still takes as many requests as before. */
#include "check.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>

struct ring {
    unsigned id, nr, head, tail, magic, compat, incompat, length;
    struct io_event events[];
};

static struct timespec limit = {20, 0}, none;
static int counter;

static aio_context_t context_for(unsigned requests) {
    aio_context_t context = 0;
    MUST(syscall(SYS_io_setup, requests, &context));
    return context;
}

/* A request that ends at once. */
static void submit_number(aio_context_t context, uint64_t number) {
    struct iocb one = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_data = number, .aio_fildes = (uint32_t)counter};
    one.aio_buf = POLLOUT;
    struct iocb *list[] = {&one};
    CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "request %llu is not taken", (unsigned long long)number);
}

static void take_number(aio_context_t context, uint64_t number) {
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &limit) == 1, "event %llu is lost", (unsigned long long)number);
    CHECK(event.data == number && event.res == POLLOUT, "event %llu instead of %llu, result %lld",
          (unsigned long long)event.data, (unsigned long long)number, (long long)event.res);
}

static void take_none(aio_context_t context) {
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 0, 1, &event, &none) == 0, "event %llu too many", (unsigned long long)event.data);
}

/* How many requests the kernel takes of an empty context, which is empty again afterwards. */
static long capacity(aio_context_t context) {
    long taken = 0;
    static struct iocb one;
    one = (struct iocb){.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)counter, .aio_buf = POLLOUT};
    struct iocb *list[] = {&one};
    while (syscall(SYS_io_submit, context, 1, list) == 1) taken++;
    CHECK(errno == EAGAIN, "the kernel takes no more");
    struct io_event event;
    for (long i = 0; i < taken; i++) CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &limit) == 1, "event %ld", i);
    take_none(context);
    return taken;
}

static aio_context_t waited;
static volatile pid_t waiter_tid;
static void *waiter(void *unused) {
    (void)unused;
    waiter_tid = (pid_t)syscall(SYS_gettid);
    struct io_event event;
    long got = syscall(SYS_io_getevents, waited, 1, 1, &event, NULL);
    CHECK(got == 1 && event.data == 77, "the waiter got %ld, event %llu", got, (unsigned long long)event.data);
    return NULL;
}

static aio_context_t inherited;
static int go[2];
static int heir(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, inherited, 0, 1, &event, &none) < 0 && errno == EINVAL, "a child has its parent's context");
    CHECK(syscall(SYS_io_destroy, inherited) < 0 && errno == EINVAL, "a child destroys its parent's context");
    aio_context_t own = context_for(4);
    submit_number(own, 6);
    take_number(own, 6);
    return 0;
}

static char written[8192] __attribute__((aligned(4096))), back[8192] __attribute__((aligned(4096)));

int main(void) {
    MUST(pipe(go));
    counter = MUST(eventfd(0, EFD_NONBLOCK));
    int file = MUST(open(in_folder("file"), O_RDWR | O_CREAT | O_TRUNC, 0600)), told = MUST(eventfd(0, EFD_NONBLOCK));

    aio_context_t small = context_for(1), large = context_for(1000), empty = context_for(8), used = context_for(30);
    waited = context_for(8);
    inherited = small;
    volatile struct ring *ring = (struct ring *)small;
    unsigned slots = ring->nr;
    /* Nearly once around, then some that stay and go on at the first slot. */
    for (unsigned i = 0; i < slots - 3; i++) {
        submit_number(small, i);
        take_number(small, i);
    }
    for (unsigned i = 0; i < 9; i++) submit_number(small, 100 + i);
    for (unsigned i = 0; i < 500; i++) submit_number(large, i);
    for (unsigned i = 0; i < 200; i++) take_number(large, i);

    fill(written, sizeof written, 5);
    struct iocb requests[2] = {
        {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_data = 1, .aio_fildes = (uint32_t)file, .aio_nbytes = sizeof written},
        {.aio_lio_opcode = IOCB_CMD_FDSYNC, .aio_data = 2, .aio_fildes = (uint32_t)file},
    };
    requests[0].aio_buf = (uintptr_t)written;
    for (int i = 0; i < 2; i++) {
        requests[i].aio_flags = IOCB_FLAG_RESFD;
        requests[i].aio_resfd = (uint32_t)told;
    }
    struct iocb *list[] = {&requests[0], &requests[1]};
    CHECK(syscall(SYS_io_submit, used, 2, list) == 2, "the test itself");
    long most = capacity(empty);

    pid_t pid = child(heir, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, waiter, NULL);
    while (!waiter_tid || call_of(getpid(), waiter_tid) != SYS_io_getevents) usleep(1000);
    unsigned head = ring->head, tail = ring->tail;
    ready();
    CHECK(ring->nr == slots && ring->head == head && ring->tail == tail && ring->magic == 0xa10a10a1,
          "the ring of %u slots is at %u and %u, not at %u and %u", ring->nr, ring->head, ring->tail, head, tail);
    for (unsigned i = 0; i < 9; i++) {
        CHECK(ring->events[(head + i) % slots].data == 100 + i, "slot %u holds another event", (head + i) % slots);
        take_number(small, 100 + i);
    }
    take_none(small);
    submit_number(small, 5);
    take_number(small, 5);
    for (unsigned i = 200; i < 500; i++) take_number(large, i);
    take_none(large);
    long now = capacity(empty);
    /* A part of what it takes may be kept for another processor. */
    CHECK(now >= most / 2, "it takes %ld requests and took %ld", now, most);

    struct io_event events[2];
    CHECK(syscall(SYS_io_getevents, used, 2, 2, events, &limit) == 2, "what was finished is lost");
    int first = events[0].data == 1 ? 0 : 1;
    CHECK(events[first].data == 1 && events[first].res == sizeof written && events[first].obj == (uintptr_t)&requests[0],
          "the write: %lld of request %llx", (long long)events[first].res, (unsigned long long)events[first].obj);
    CHECK(events[!first].data == 2 && events[!first].res == 0, "the sync: %lld", (long long)events[!first].res);
    uint64_t count;
    CHECK(read(told, &count, sizeof count) == sizeof count && count == 2, "told %llu times", (unsigned long long)count);
    requests[0].aio_lio_opcode = IOCB_CMD_PREAD;
    requests[0].aio_buf = (uintptr_t)back;
    CHECK(syscall(SYS_io_submit, used, 1, list) == 1, "no more requests are taken");
    CHECK(syscall(SYS_io_getevents, used, 1, 1, events, &limit) == 1 && events[0].res == sizeof back, "the read");
    CHECK(is_filled(back, sizeof back, 5), "another text was read");
    CHECK(read(told, &count, sizeof count) == sizeof count && count == 1, "told %llu times", (unsigned long long)count);

    submit_number(waited, 77);
    pthread_join(thread, NULL);
    write_all(go[1], "x", 1);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
    aio_context_t another = context_for(3);
    MUST(syscall(SYS_io_destroy, another));
    MUST(syscall(SYS_io_destroy, small));
    MUST(syscall(SYS_io_destroy, large));
    MUST(syscall(SYS_io_destroy, used));
    CHECK(syscall(SYS_io_getevents, small, 0, 1, events, &none) < 0 && errno == EINVAL, "a context that was destroyed");
    return passed();
}
