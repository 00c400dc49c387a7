/* The other side is closed: with bytes still to be read, broken off, after both ended; and one turned down. */
#include "inet.h"

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int left[2], broken[2], over[2];
    connection(AF_INET, left);
    connection(AF_INET6, broken);
    connection(AF_INET, over);
    write_all(left[1], "last words", 10);
    close(left[1]);
    write_all(broken[0], "never read", 10);
    await(broken[1], POLLIN);
    close(broken[1]);
    write_all(over[1], "end", 3);
    close(over[1]);
    CHECK(await(over[0], POLLRDHUP) & POLLRDHUP, "the test itself");
    MUST(shutdown(over[0], SHUT_WR));
    int listener = listen_on(AF_INET, 1), port = port_of(listener, false);
    close(listener);
    int refused = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    socklen_t length;
    struct sockaddr_storage address = on_loop(AF_INET, port, &length);
    CHECK(connect(refused, (struct sockaddr *)&address, length) < 0, "the test itself");
    CHECK(errno == EINPROGRESS && await(refused, POLLOUT) & POLLERR, "the test itself");
    CHECK(await(left[0], POLLRDHUP) & POLLRDHUP && await(broken[0], POLLIN) & POLLERR, "the test itself");
    ready();
    char text[16];
    CHECK(state_of(left[0]) == TCP_CLOSE_WAIT, "state %d", state_of(left[0]));
    read_all(left[0], text, 10);
    CHECK(memcmp(text, "last words", 10) == 0, "other words");
    CHECK(read(left[0], text, 1) == 0, "it does not end");
    CHECK(await(broken[0], POLLIN) & POLLERR, "the break is not told");
    CHECK(read(broken[0], text, 1) < 0 && errno == ECONNRESET, "it was not broken off");
    CHECK(read(broken[0], text, 1) == 0 && write(broken[0], "x", 1) < 0 && errno == EPIPE, "it goes on");
    read_all(over[0], text, 3);
    CHECK(memcmp(text, "end", 3) == 0 && read(over[0], text, 1) == 0, "what is over does not end");
    CHECK(write(over[0], "x", 1) < 0 && errno == EPIPE, "what is over sends");
    CHECK(option(refused, SOL_SOCKET, SO_ERROR) == ECONNREFUSED, "nobody says that it was refused");
    return passed();
}
