/* Two listeners at one port, for IPv4 and for IPv6, and one for both; at each somebody waits who has sent something. */
#include "inet.h"

static int listen_anywhere(int family, int port, int only) {
    int fd = MUST(socket(family, SOCK_STREAM, 0));
    if (family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    MUST(family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof v4) : bind(fd, (struct sockaddr *)&v6, sizeof v6));
    MUST(listen(fd, 8));
    return fd;
}

int main(void) {
    int listeners[3], clients[4], families[] = {AF_INET, AF_INET6, AF_INET6, AF_INET};
    listeners[0] = listen_anywhere(AF_INET, 0, 0);
    int port = port_of(listeners[0], false);
    listeners[1] = listen_anywhere(AF_INET6, port, 1);
    listeners[2] = listen_anywhere(AF_INET6, 0, 0);
    for (int i = 0; i < 4; i++) {
        clients[i] = call(families[i], i < 2 ? port : port_of(listeners[2], false));
        write_all(clients[i], &(char){(char)('0' + i)}, 1);
    }
    ready();
    for (int i = 0; i < 4; i++) {
        char text[4];
        int taken = MUST(accept(listeners[i < 2 ? i : 2], NULL, NULL));
        CHECK(port_of(taken, true) == port_of(clients[i], false), "client %d was not the next", i);
        read_all(taken, text, 1);
        CHECK(*text == '0' + i, "client %d says %c", i, *text);
        write_all(taken, "hi", 2);
        read_all(clients[i], text, 2);
    }
    for (int i = 0; i < 3; i++) {
        MUST(fcntl(listeners[i], F_SETFL, O_NONBLOCK));
        CHECK(accept(listeners[i], NULL, NULL) < 0 && errno == EAGAIN, "more connections than were");
    }
    return passed();
}
