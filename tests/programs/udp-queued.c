/* UDP: datagrams that wait, each with its sender; empty ones; connected sockets; two sockets at one port. */
#include "inet.h"

static int bound(int family) {
    socklen_t length;
    struct sockaddr_storage address = on_loop(family, 0, &length);
    int fd = MUST(socket(family, SOCK_DGRAM, 0));
    MUST(bind(fd, (struct sockaddr *)&address, length));
    return fd;
}

static void send_to(int fd, int family, int port, const char *text) {
    socklen_t length;
    struct sockaddr_storage address = on_loop(family, port, &length);
    CHECK(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, length) == (ssize_t)strlen(text), "no datagram goes");
}

static void expect(int fd, const char *text, int port) {
    char room[2000];
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(fd, room, sizeof room, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
    CHECK(got == (ssize_t)strlen(text) && memcmp(room, text, strlen(text)) == 0, "not %s but %zd bytes", text, got);
    CHECK(port == 0 || ntohs(((struct sockaddr_in *)&from)->sin_port) == port, "%s came from port %d", text,
          ntohs(((struct sockaddr_in *)&from)->sin_port));
}

int main(void) {
    const int families[] = {AF_INET, AF_INET6};
    int receivers[2], senders[2], gone[2], connected[2], port[2];
    for (int f = 0; f < 2; f++) {
        int family = families[f];
        receivers[f] = bound(family);
        senders[f] = bound(family);
        connected[f] = MUST(socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0));
        port[f] = port_of(receivers[f], false);
        int third = bound(family);
        gone[f] = port_of(third, false);
        send_to(senders[f], family, port[f], "first");
        send_to(third, family, port[f], "from one that is gone");
        send_to(senders[f], family, port[f], "");
        send_to(senders[f], family, port[f], "last");
        close(third);
        socklen_t length;
        struct sockaddr_storage to = on_loop(family, port[f], &length);
        MUST(connect(connected[f], (struct sockaddr *)&to, length));
        send_to(receivers[f], family, port_of(connected[f], false), "to the connected one");
    }
    /* Two that share a port; the later one gets what comes. */
    int twins[2], shared = 0;
    for (int i = 0; i < 2; i++) {
        socklen_t length;
        struct sockaddr_storage any = on_loop(AF_INET, shared, &length);
        twins[i] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
        set_option(twins[i], SOL_SOCKET, SO_REUSEADDR, 1);
        MUST(bind(twins[i], (struct sockaddr *)&any, length));
        shared = port_of(twins[i], false);
        send_to(senders[0], AF_INET, shared, i ? "to the second" : "to the first");
    }
    ready();
    for (int f = 0; f < 2; f++) {
        int sender = port_of(senders[f], false);
        CHECK(port_of(receivers[f], false) == port[f], "another port");
        expect(receivers[f], "first", sender);
        expect(receivers[f], "from one that is gone", gone[f]);
        expect(receivers[f], "", sender);
        expect(receivers[f], "last", sender);
        char byte;
        CHECK(recv(receivers[f], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more than was sent");
        CHECK(port_of(connected[f], true) == port[f], "it is connected with another");
        expect(connected[f], "to the connected one", port[f]);
        send_to(senders[f], families[f], port_of(connected[f], false), "not for you");
        CHECK(recv(connected[f], &byte, 1, 0) < 0 && errno == EAGAIN, "it takes what others send");
        write_all(connected[f], "back", 4);
        expect(receivers[f], "back", port_of(connected[f], false));
    }
    expect(twins[0], "to the first", 0);
    expect(twins[1], "to the second", 0);
    return passed();
}
