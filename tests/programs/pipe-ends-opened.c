/* Further ends of a pipe, opened by /proc/self/fd: reading, writing, both; O_NONBLOCK on some of them only. */
#include "check.h"

int main(void) {
    int ends[2];
    char path[64];
    MUST(pipe2(ends, O_CLOEXEC));
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    int quick = MUST(open(path, O_RDONLY | O_NONBLOCK)), both = MUST(open(path, O_RDWR)), writer = MUST(open(path, O_WRONLY));
    write_all(both, "abcdef", 6);
    close(ends[1]);
    const int fds[] = {ends[0], quick, both, writer};
    int flags[4];
    for (int i = 0; i < 4; i++) flags[i] = MUST(fcntl(fds[i], F_GETFL));
    ready();
    char text[8];
    for (int i = 0; i < 4; i++) CHECK(fcntl(fds[i], F_GETFL) == flags[i], "end %d: flags %o, not %o", i, fcntl(fds[i], F_GETFL), flags[i]);
    read_all(ends[0], text, 2);
    read_all(quick, text + 2, 2);
    read_all(both, text + 4, 2);
    CHECK(memcmp(text, "abcdef", 6) == 0, "other bytes: %.6s", text);
    CHECK(read(quick, text, 1) < 0 && errno == EAGAIN, "the quick one waits or ends");
    CHECK(write(ends[0], "x", 1) < 0 && errno == EBADF, "the reading end writes");
    CHECK(read(writer, text, 1) < 0 && errno == EBADF, "the writing end reads");
    write_all(writer, "1", 1);
    close(writer);
    read_all(quick, text, 1);
    CHECK(read(quick, text, 1) < 0 && errno == EAGAIN, "the one that does both does not count as a writer");
    close(both);
    CHECK(read(quick, text, 1) == 0, "it does not end with its last writer");
    CHECK(fcntl(quick, F_SETFL, 0) == 0 && fcntl(ends[0], F_GETFL) == flags[0], "the flags are shared");
    return passed();
}
