/* Unix streams shut in every way, with data still to be read; and one shared over fork. */
#include "check.h"
#include <poll.h>

static int shared[2];

static int other(void *unused) {
    (void)unused;
    close(shared[1]);
    char text[8];
    read_all(shared[0], text, 4);
    write_all(shared[0], "pong", 4);
    return memcmp(text, "ping", 4) == 0 ? 3 : 1;
}

int main(void) {
    int pairs[4][2], how[] = {SHUT_RD, SHUT_WR, SHUT_RDWR, -1};
    for (int i = 0; i < 4; i++) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
        write_all(pairs[i][0], "to b", 4);
        write_all(pairs[i][1], "to a", 4);
        if (how[i] >= 0) MUST(shutdown(pairs[i][0], how[i]));
    }
    close(pairs[3][1]);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, shared));
    pid_t pid = child(other, NULL);
    ready();
    signal(SIGPIPE, SIG_IGN);
    char text[8];
    for (int i = 0; i < 3; i++) {
        int a = pairs[i][0], b = pairs[i][1];
        read_all(b, text, 4);
        CHECK(memcmp(text, "to b", 4) == 0, "pair %d has other bytes", i);
        read_all(a, text, 4);
        CHECK(memcmp(text, "to a", 4) == 0, "pair %d has other bytes", i);
        bool sends = how[i] == SHUT_RD, receives = how[i] == SHUT_WR;
        CHECK((write(a, "x", 1) == 1) == sends, "pair %d: sending is %s", i, sends ? "shut" : "open");
        CHECK((write(b, "y", 1) == 1) == receives, "pair %d: receiving is %s", i, receives ? "shut" : "open");
        MUST(fcntl(a, F_SETFL, O_NONBLOCK));
        MUST(fcntl(b, F_SETFL, O_NONBLOCK));
        CHECK(read(b, text, 1) == (sends ? 1 : 0), "pair %d: b", i);
        CHECK(read(a, text, 1) == (receives ? 1 : 0), "pair %d: a", i);
    }
    /* Closed by the other side while it had something to read: that is an error, once, after the rest. */
    int fd = pairs[3][0];
    struct pollfd poller = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    CHECK(poll(&poller, 1, 0) == 1 && poller.revents & POLLHUP && poller.revents & POLLERR, "events %x", poller.revents);
    read_all(fd, text, 4);
    CHECK(memcmp(text, "to a", 4) == 0, "the last bytes are other ones");
    CHECK(read(fd, text, 4) < 0 && errno == ECONNRESET, "no word of what was not read");
    CHECK(read(fd, text, 1) == 0, "it does not end");
    CHECK(write(fd, "x", 1) < 0 && errno == EPIPE, "it can be written");
    write_all(shared[1], "ping", 4);
    close(shared[0]);
    read_all(shared[1], text, 4);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 3, "the child read something else");
    CHECK(read(shared[1], text, 1) == 0, "the connection does not end with the child");
    return passed();
}
