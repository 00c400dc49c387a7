/* Pipes of every size, full to the last byte: F_GETPIPE_SZ, and how much goes in. */
#include "check.h"

enum { COUNT = 6 };

int main(void) {
    const int sizes[COUNT] = {4096, 8192, 65536, 131072, 524288, 1048576};
    int pipes[COUNT][2], real[COUNT];
    size_t full[COUNT];
    char *block = malloc(1 << 20), *back = malloc(1 << 20);
    fill(block, 1 << 20, 4);
    for (int i = 0; i < COUNT; i++) {
        MUST(pipe2(pipes[i], O_NONBLOCK));
        real[i] = MUST(fcntl(pipes[i][1], F_SETPIPE_SZ, sizes[i]));
        full[i] = 0;
        ssize_t put;
        /* The last one stays half empty. */
        size_t most = i == COUNT - 1 ? 1 << 19 : 1 << 20;
        while (full[i] < most && (put = write(pipes[i][1], block + full[i], most - full[i])) > 0) full[i] += (size_t)put;
    }
    ready();
    for (int i = 0; i < COUNT; i++) {
        CHECK(fcntl(pipes[i][0], F_GETPIPE_SZ) == real[i], "pipe %d holds %d", i, fcntl(pipes[i][0], F_GETPIPE_SZ));
        if (i < COUNT - 1) CHECK(write(pipes[i][1], "x", 1) < 0 && errno == EAGAIN, "pipe %d is not full", i);
        read_all(pipes[i][0], back, full[i]);
        CHECK(memcmp(block, back, full[i]) == 0, "pipe %d has other bytes", i);
        CHECK(read(pipes[i][0], back, 1) < 0 && errno == EAGAIN, "pipe %d has more", i);
        size_t again = 0;
        ssize_t put;
        while ((put = write(pipes[i][1], block, 4096)) > 0) again += (size_t)put;
        CHECK(again == (size_t)real[i], "%zu bytes go into pipe %d", again, i);
    }
    return passed();
}
