/* A writer that waits in the middle of a long write: each byte arrives once, in order. */
#include "check.h"
#include <sys/ioctl.h>
#include <sys/uio.h>

static int ends[2], other[2];
enum { LENGTH = 600000 };
static char block[LENGTH], back[LENGTH];

static int writer(void *unused) {
    (void)unused;
    const char *at = block;
    size_t left = LENGTH;
    while (left > 0) {
        ssize_t put = write(ends[1], at, left);
        CHECK(put > 0 || errno == EINTR, "the write fails");
        if (put > 0) at += put, left -= (size_t)put;
    }
    return 7;
}

static int vector_writer(void *unused) {
    (void)unused;
    struct iovec parts[] = {{block, 100000}, {block + 100000, 100000}};
    ssize_t put = writev(other[1], parts, 2);
    CHECK(put > 0, "the vector write fails");
    write_all(other[1], block + put, 200000 - (size_t)put);
    return 8;
}

int main(void) {
    fill(block, sizeof block, 77);
    MUST(pipe(ends));
    MUST(pipe(other));
    pid_t one = child(writer, NULL), two = child(vector_writer, NULL);
    /* Both have filled their pipe. */
    struct timespec pause = {0, 1000000};
    for (int i = 0; i < 2; i++) {
        int queued = 0;
        for (int tries = 0; tries < 20000 && queued < 65536; tries++) {
            if (i == 0) MUST(ioctl(ends[0], FIONREAD, &queued));
            else MUST(ioctl(other[0], FIONREAD, &queued));
            if (queued < 65536) nanosleep(&pause, NULL);
        }
        CHECK(queued == 65536, "the test itself: %d", queued);
    }
    ready();
    read_all(ends[0], back, LENGTH);
    CHECK(memcmp(block, back, LENGTH) == 0, "other bytes came");
    read_all(other[0], back, 200000);
    CHECK(memcmp(block, back, 200000) == 0, "other bytes came from the vector");
    int status;
    MUST(waitpid(one, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the writer ended with %x", status);
    MUST(waitpid(two, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 8, "the other writer ended with %x", status);
    return passed();
}
