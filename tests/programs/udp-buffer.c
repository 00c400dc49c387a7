/* UDP: more datagrams that wait than the buffer would take now, because it was made smaller since; none is lost, and the
 * buffer is as small as before. */
#include "inet.h"

enum { COUNT = 100 };

int main(void) {
    socklen_t length;
    struct sockaddr_storage any = on_loop(AF_INET, 0, &length);
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0)), from = MUST(socket(AF_INET, SOCK_DGRAM, 0)), usual = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(bind(fd, (struct sockaddr *)&any, length));
    MUST(bind(usual, (struct sockaddr *)&any, length));
    any = on_loop(AF_INET, port_of(fd, false), &length);
    MUST(connect(from, (struct sockaddr *)&any, length));
    char text[1000];
    for (int i = 0; i < COUNT; i++) {
        /* Each is sent only when there is room for certain. */
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 400000);
        fill(text, sizeof text, (uint64_t)i);
        write_all(from, text, sizeof text);
    }
    set_option(fd, SOL_SOCKET, SO_RCVBUF, 5000);
    any = on_loop(AF_INET, port_of(usual, false), &length);
    MUST(connect(from, (struct sockaddr *)&any, length));
    write_all(from, "one", 3);
    int size = option(fd, SOL_SOCKET, SO_RCVBUF), chosen = option(usual, SOL_SOCKET, SO_BUF_LOCK);
    /* All of them are there. */
    int peek = 0, there = 0;
    MUST(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek, sizeof peek));
    while (recv(fd, text, sizeof text, MSG_PEEK | MSG_DONTWAIT) == sizeof text) there++;
    peek = -1;
    MUST(setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &peek, sizeof peek));
    CHECK(there == COUNT, "the test itself: %d", there);
    ready();
    CHECK(option(fd, SOL_SOCKET, SO_RCVBUF) == size, "the buffer is %d, was %d", option(fd, SOL_SOCKET, SO_RCVBUF), size);
    CHECK(option(usual, SOL_SOCKET, SO_BUF_LOCK) == chosen, "a size is taken for one that the program chose");
    for (int i = 0; i < COUNT; i++) {
        ssize_t got = recv(fd, text, sizeof text, MSG_DONTWAIT);
        CHECK(got == sizeof text && is_filled(text, sizeof text, (uint64_t)i), "datagram %d of %d is lost", i, COUNT);
    }
    CHECK(recv(fd, text, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more than was sent");
    CHECK(recv(usual, text, 3, MSG_DONTWAIT) == 3, "the other one is lost");
    return passed();
}
