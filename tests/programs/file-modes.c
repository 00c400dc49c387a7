/* Every way to open a file: the flags that F_GETFL shows, and what may be done through it. */
#include "check.h"

static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_APPEND, O_RDWR | O_APPEND, O_RDWR | O_SYNC,
                            O_WRONLY | O_DSYNC, O_RDONLY | O_NOATIME, O_RDWR | O_NONBLOCK, O_RDONLY | O_DIRECT,
                            O_RDWR | O_DIRECT | O_APPEND, O_RDONLY | O_NOFOLLOW, O_RDONLY | O_CLOEXEC, O_WRONLY | O_CREAT};
enum { COUNT = sizeof modes / sizeof *modes };

int main(void) {
    char *path = in_folder("data");
    char block[8192] __attribute__((aligned(4096)));
    fill(block, sizeof block, 3);
    int first = MUST(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    write_all(first, block, sizeof block);
    int fds[COUNT], flags[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = open(path, modes[i], 0600);
        /* Not every file system knows O_DIRECT. */
        if (fds[i] < 0 && modes[i] & O_DIRECT && errno == EINVAL) fds[i] = MUST(open(path, modes[i] & ~O_DIRECT));
        CHECK(fds[i] >= 0, "it does not open with %x", modes[i]);
        flags[i] = MUST(fcntl(fds[i], F_GETFL));
    }
    ready();
    for (int i = 0; i < COUNT; i++) {
        int now = MUST(fcntl(fds[i], F_GETFL)), access = modes[i] & O_ACCMODE;
        CHECK(now == flags[i], "opened with %o it had flags %o and has %o", modes[i], flags[i], now);
        CHECK(fcntl(fds[i], F_GETFD) == (modes[i] & O_CLOEXEC ? FD_CLOEXEC : 0), "close-on-exec of %d", i);
        ssize_t got = pread(fds[i], block, 4096, 0);
        CHECK(access == O_WRONLY ? got < 0 && errno == EBADF : got == 4096, "reading with %o gives %zd", modes[i], got);
        CHECK(access == O_WRONLY || is_filled(block, 4096, 3), "other bytes");
        if (access == O_RDONLY) CHECK(write(fds[i], block, 4096) < 0 && errno == EBADF, "a reader %o writes", modes[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        struct stat before, after;
        MUST(fstat(fds[i], &before));
        if (!(modes[i] & O_APPEND) || (modes[i] & O_ACCMODE) == O_RDONLY) continue;
        CHECK(write(fds[i], block, 4096) == 4096, "appending fails");
        MUST(fstat(fds[i], &after));
        CHECK(after.st_size == before.st_size + 4096, "what is appended goes elsewhere");
    }
    return passed();
}
