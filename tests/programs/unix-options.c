/* Options of unix sockets: buffers, time-outs, SO_PEEK_OFF, SO_PASSCRED, SO_LINGER; and what they do. */
#include "check.h"
#include <sys/time.h>

static long option(int fd, int name, size_t length) {
    long value[4] = {0};
    socklen_t got = (socklen_t)length;
    MUST(getsockopt(fd, SOL_SOCKET, name, value, &got));
    return length == 4 ? (int)value[0] : value[0] * 1000000 + value[1];
}

int main(void) {
    int pair[2], one = 1;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    int size = 20000;
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    size = 30000;
    MUST(setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
    struct timeval wait = {3, 400000}, short_one = {0, 20000};
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &short_one, sizeof short_one));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
    write_all(pair[0], "0123456789", 10);
    int peek = 4;
    MUST(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &peek, sizeof peek));
    struct linger linger = {1, 7};
    MUST(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    int least = 3;
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_OOBINLINE, &one, sizeof one));
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one));
    MUST(setsockopt(pair[1], SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one));
    /* SO_PASSRIGHTS, which kernels before 6.16 have not. */
    int none = 0, rights = setsockopt(pair[1], SOL_SOCKET, 83, &none, sizeof none);
    long sent = option(pair[0], SO_SNDBUF, 4), received = option(pair[1], SO_RCVBUF, 4);
    ready();
    CHECK(option(pair[0], SO_SNDBUF, 4) == sent, "the sending buffer is %ld", option(pair[0], SO_SNDBUF, 4));
    CHECK(option(pair[1], SO_RCVBUF, 4) == received, "the receiving buffer is %ld", option(pair[1], SO_RCVBUF, 4));
    long to = option(pair[0], SO_SNDTIMEO, 16), from = option(pair[0], SO_RCVTIMEO, 16);
    CHECK(to >= 3400000 && to <= 3410000 && from >= 20000 && from <= 30000, "time-outs %ld and %ld", to, from);
    CHECK(rights < 0 || (option(pair[1], 83, 4) == 0 && option(pair[0], 83, 4) == 1), "it takes descriptors again");
    CHECK(option(pair[0], SO_RCVLOWAT, 4) == 3 && option(pair[1], SO_RCVLOWAT, 4) == 1, "the least to read");
    CHECK(option(pair[0], SO_OOBINLINE, 4) == 1 && option(pair[1], SO_OOBINLINE, 4) == 0, "urgent data in line");
    CHECK(option(pair[0], SO_TIMESTAMP, 4) == 1 && option(pair[1], SO_TIMESTAMPNS, 4) == 1, "time stamps");
    CHECK(option(pair[0], SO_PASSCRED, 4) == 1 && option(pair[1], SO_PASSCRED, 4) == 0, "credentials");
    CHECK(option(pair[1], SO_PEEK_OFF, 4) == 4, "the place to peek at is %ld", option(pair[1], SO_PEEK_OFF, 4));
    char text[16];
    CHECK(recv(pair[1], text, 3, MSG_PEEK) == 3 && memcmp(text, "456", 3) == 0, "it peeks %.3s", text);
    CHECK(recv(pair[1], text, 3, MSG_PEEK) == 3 && memcmp(text, "789", 3) == 0, "then it peeks %.3s", text);
    read_all(pair[1], text, 10);
    CHECK(recv(pair[0], text, 1, 0) < 0 && errno == EAGAIN, "the time-out does not come");
    struct linger now;
    socklen_t length = sizeof now;
    MUST(getsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, &length));
    CHECK(now.l_onoff == 1 && now.l_linger == 7, "linger is %d, %d", now.l_onoff, now.l_linger);
    return passed();
}
