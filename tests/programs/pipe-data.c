/* Pipes: bytes in them, their size, their flags, both ends in different processes, one end closed. */
#include "check.h"

static int up[2], down[2];

static int other(void *unused) {
    (void)unused;
    close(up[0]);
    close(down[1]);
    char text[5];
    read_all(down[0], text, 5);
    CHECK(memcmp(text, "later", 5) == 0, "other bytes came");
    write_all(up[1], "answer", 6);
    return 0;
}

int main(void) {
    int queued[2], ended[2];
    MUST(pipe2(queued, O_NONBLOCK | O_CLOEXEC));
    int size = MUST(fcntl(queued[1], F_SETPIPE_SZ, 256 << 10));
    char *block = malloc(150000);
    fill(block, 150000, 6);
    write_all(queued[1], block, 150000);
    MUST(pipe(ended));
    write_all(ended[1], "last words", 10);
    close(ended[1]);
    MUST(pipe(up));
    MUST(pipe(down));
    pid_t pid = child(other, NULL);
    close(up[1]);
    close(down[0]);
    ready();
    CHECK(fcntl(queued[0], F_GETPIPE_SZ) == size, "the pipe holds %d", fcntl(queued[0], F_GETPIPE_SZ));
    CHECK(fcntl(queued[0], F_GETFL) & O_NONBLOCK, "O_NONBLOCK is lost");
    CHECK(fcntl(queued[0], F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    char *back = malloc(150000);
    read_all(queued[0], back, 150000);
    CHECK(memcmp(block, back, 150000) == 0, "the bytes changed");
    char one;
    CHECK(read(queued[0], &one, 1) < 0 && errno == EAGAIN, "there are more bytes than were");
    read_all(ended[0], back, 10);
    CHECK(memcmp(back, "last words", 10) == 0, "the bytes changed");
    CHECK(read(ended[0], &one, 1) == 0, "a pipe without writers does not end");
    write_all(down[1], "later", 5);
    read_all(up[0], back, 6);
    CHECK(memcmp(back, "answer", 6) == 0, "the child answered otherwise");
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(read(up[0], &one, 1) == 0, "the pipe does not end with its writer");
    return passed();
}
