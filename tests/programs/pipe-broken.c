/* Pipes whose other side is gone: nothing is written without readers, the rest is read without writers. */
#include "check.h"
#include <poll.h>

int main(void) {
    int no_reader[2], no_writer[2], both_gone[2];
    signal(SIGPIPE, SIG_IGN);
    MUST(pipe(no_reader));
    MUST(pipe2(no_writer, O_NONBLOCK));
    MUST(pipe(both_gone));
    write_all(no_reader[1], "lost", 4);
    close(no_reader[0]);
    write_all(no_writer[1], "rest", 4);
    close(no_writer[1]);
    close(both_gone[0]);
    close(both_gone[1]);
    ready();
    struct pollfd polls[] = {{no_reader[1], POLLOUT, 0}, {no_writer[0], POLLIN, 0}};
    CHECK(poll(polls, 2, 0) == 2 && polls[0].revents & POLLERR && polls[1].revents & POLLHUP && polls[1].revents & POLLIN,
          "events %x and %x", polls[0].revents, polls[1].revents);
    CHECK(write(no_reader[1], "x", 1) < 0 && errno == EPIPE, "somebody reads");
    signal(SIGPIPE, SIG_DFL);
    char text[8];
    CHECK(read(no_writer[0], text, 8) == 4 && memcmp(text, "rest", 4) == 0, "the rest is lost");
    CHECK(read(no_writer[0], text, 8) == 0, "it does not end");
    CHECK(fcntl(both_gone[0], F_GETFD) < 0 || both_gone[0] > no_writer[0], "a closed one is open");
    return passed();
}
