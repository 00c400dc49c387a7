/* A pair of stream sockets with bytes under way in both directions, and options. */
#include "check.h"

int main(void) {
    int pair[2], half[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    char block[60000], back[60000];
    fill(block, sizeof block, 2);
    write_all(pair[0], block, sizeof block);
    write_all(pair[1], "other way", 9);
    int on = 1, size = 300000;
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    socklen_t length = sizeof size;
    MUST(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, &length));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, half));
    write_all(half[0], "then silence", 12);
    MUST(shutdown(half[0], SHUT_WR));
    ready();
    read_all(pair[1], back, sizeof back);
    CHECK(memcmp(block, back, sizeof block) == 0, "the bytes changed");
    CHECK(read(pair[1], back, 1) < 0 && errno == EAGAIN, "more bytes than were, or no O_NONBLOCK");
    read_all(pair[0], back, 9);
    CHECK(memcmp(back, "other way", 9) == 0, "the bytes changed");
    int now;
    MUST(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &now, &length));
    CHECK(now == size, "SO_SNDBUF was %d and is %d", size, now);
    MUST(getsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &now, &length));
    CHECK(now == 1, "SO_PASSCRED is lost");
    read_all(half[1], back, 12);
    CHECK(read(half[1], back, 1) == 0, "the half that was shut is open");
    write_all(half[1], "back", 4);
    read_all(half[0], back, 4);
    CHECK(send(half[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "the half that was shut takes bytes");
    close(pair[1]);
    CHECK(read(pair[0], back, 1) == 0, "the end of the other is not seen");
    return passed();
}
