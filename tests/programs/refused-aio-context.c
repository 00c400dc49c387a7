/* The kernel's own asynchronous I/O: of a context the kernel does not say whether anything is under way, so it is
 * refused to carry it, and what is finished stays to be read. */
#include "check.h"
#include <linux/aio_abi.h>

int main(void) {
    aio_context_t context = 0;
    MUST(syscall(SYS_io_setup, 8, &context));
    int file = MUST(open(in_folder("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    struct iocb write_one = {.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)file, .aio_data = 5};
    write_one.aio_buf = (uintptr_t) "text";
    write_one.aio_nbytes = 4;
    struct iocb *all[] = {&write_one};
    CHECK(syscall(SYS_io_submit, context, 1, all) == 1, "the test itself");
    expect_refusal("context of asynchronous I/O");
    ready();
    struct io_event event;
    CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){20, 0}) == 1, "the event is lost");
    CHECK(event.data == 5 && event.res == 4, "the event says %lld", (long long)event.res);
    char text[4];
    CHECK(pread(file, text, 4, 0) == 4 && memcmp(text, "text", 4) == 0, "nothing was written");
    MUST(syscall(SYS_io_destroy, context));
    return passed();
}
