/* The C library's asynchronous I/O (its own threads): a read that waits, one that is done and not asked for,
 * a list of writes, a notification by signal. */
#include "check.h"
#include <aio.h>

int main(void) {
    int ends[2], done[2];
    MUST(pipe(ends));
    MUST(pipe(done));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 2);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    char waited[16] = {0}, early[16] = {0};
    struct aiocb waits = {.aio_fildes = ends[0], .aio_buf = waited, .aio_nbytes = sizeof waited};
    waits.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    waits.aio_sigevent.sigev_signo = SIGRTMIN + 2;
    waits.aio_sigevent.sigev_value.sival_int = 91;
    struct aiocb finished = {.aio_fildes = done[0], .aio_buf = early, .aio_nbytes = sizeof early};
    write_all(done[1], "early", 5);
    MUST(aio_read(&waits));
    MUST(aio_read(&finished));
    while (aio_error(&finished) == EINPROGRESS) sched_yield();
    CHECK(aio_error(&waits) == EINPROGRESS, "the test itself");
    int file = MUST(open(in_folder("file"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    ready();
    CHECK(aio_error(&finished) == 0 && aio_return(&finished) == 5 && memcmp(early, "early", 5) == 0, "a finished read is lost");
    CHECK(aio_error(&waits) == EINPROGRESS, "the read that waits ended: %d", aio_error(&waits));
    write_all(ends[1], "late", 4);
    siginfo_t info;
    int got;
    while ((got = sigtimedwait(&set, &info, &(struct timespec){20, 0})) < 0 && errno == EINTR) {
    }
    CHECK(got == SIGRTMIN + 2 && info.si_code == SI_ASYNCIO && info.si_value.sival_int == 91, "no notification");
    CHECK(aio_error(&waits) == 0 && aio_return(&waits) == 4 && memcmp(waited, "late", 4) == 0, "the read gave %zd", aio_return(&waits));
    struct aiocb one = {.aio_fildes = file, .aio_buf = "one", .aio_nbytes = 3, .aio_lio_opcode = LIO_WRITE};
    struct aiocb two = {.aio_fildes = file, .aio_buf = "two", .aio_nbytes = 3, .aio_offset = 3, .aio_lio_opcode = LIO_WRITE};
    MUST(lio_listio(LIO_WAIT, (struct aiocb *[]){&one, &two}, 2, NULL));
    char text[7] = {0};
    MUST(pread(file, text, 6, 0));
    CHECK(strcmp(text, "onetwo") == 0, "the file has %s", text);
    return passed();
}
