/* Datagram and packet sockets: messages keep their bounds, names and order. */
#include "check.h"
#include <sys/un.h>

int main(void) {
    int pair[2], packets[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
    for (int i = 1; i <= 5; i++) {
        char text[16] = "abcdefghijklmno";
        MUST(send(pair[0], text, (size_t)i, 0));
        MUST(send(packets[0], text, (size_t)i * 2, 0));
    }
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-datagram"};
    unlink(name.sun_path);
    int bound = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), loose = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    MUST(bind(bound, (struct sockaddr *)&name, sizeof name));
    MUST(sendto(loose, "before", 6, 0, (struct sockaddr *)&name, sizeof name));
    ready();
    char text[64];
    for (int i = 1; i <= 5; i++) {
        CHECK(recv(pair[1], text, sizeof text, MSG_DONTWAIT) == i, "datagram %d", i);
        CHECK(recv(packets[1], text, sizeof text, MSG_DONTWAIT) == i * 2, "packet %d", i);
    }
    CHECK(recv(pair[1], text, sizeof text, MSG_DONTWAIT) < 0 && errno == EAGAIN, "a datagram too many");
    MUST(send(pair[1], "back", 4, 0));
    CHECK(recv(pair[0], text, sizeof text, MSG_DONTWAIT) == 4, "the other direction");
    CHECK(recv(bound, text, sizeof text, MSG_DONTWAIT) == 6, "what was sent to the name is lost");
    MUST(sendto(loose, "after", 5, 0, (struct sockaddr *)&name, sizeof name));
    CHECK(recv(bound, text, sizeof text, MSG_DONTWAIT) == 5, "the name leads nowhere");
    unlink(name.sun_path);
    return passed();
}
