/* A UDP socket that holds back a datagram which is not complete (UDP_CORK, MSG_MORE): nobody but the kernel has it, so it
 * is refused for that moment, and goes out whole afterwards. */
#include "inet.h"
#include <netinet/udp.h>

int main(void) {
    socklen_t length;
    struct sockaddr_storage any = on_loop(AF_INET, 0, &length);
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0)), from = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(bind(fd, (struct sockaddr *)&any, length));
    any = on_loop(AF_INET, port_of(fd, false), &length);
    MUST(connect(from, (struct sockaddr *)&any, length));
    CHECK(send(from, "one ", 4, MSG_MORE) == 4, "the test itself");
    expect_refusal_late("it holds back a datagram that is not complete");
    ready();
    CHECK(send(from, "whole", 5, 0) == 5, "it can't be completed");
    char text[16];
    await(fd, POLLIN);
    CHECK(recv(fd, text, sizeof text, 0) == 9 && memcmp(text, "one whole", 9) == 0, "it is not whole");
    return passed();
}
