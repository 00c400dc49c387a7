/* A request of asynchronous I/O that waits for input: it is refused to carry that, and nobody is told who it was that
 * looked; the context works as before, with what was there to be read. */
#include "check.h"
#include <linux/aio_abi.h>
#include <poll.h>

int main(void) {
    aio_context_t context = 0;
    MUST(syscall(SYS_io_setup, 8, &context));
    int ends[2];
    MUST(pipe(ends));
    struct iocb ended = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)ends[1], .aio_data = 4, .aio_buf = POLLOUT};
    struct iocb waits = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (uint32_t)ends[0], .aio_data = 5, .aio_buf = POLLIN};
    struct iocb *all[] = {&ended, &waits};
    CHECK(syscall(SYS_io_submit, context, 2, all) == 2, "the test itself");
    expect_refusal_late("1 of its requests are under way and do not end");
    ready();
    struct io_event event;
    struct timespec limit = {20, 0}, none = {0, 0};
    CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &limit) == 1, "the event is lost");
    CHECK(event.data == 4 && event.res == POLLOUT, "the event says %lld", (long long)event.res);
    CHECK(syscall(SYS_io_getevents, context, 0, 1, &event, &none) == 0, "event %llu too many", (unsigned long long)event.data);
    write_all(ends[1], "x", 1);
    CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &limit) == 1, "the end of what waited is lost");
    CHECK(event.data == 5 && event.res & POLLIN, "it ended with %lld", (long long)event.res);
    MUST(syscall(SYS_io_destroy, context));
    return passed();
}
