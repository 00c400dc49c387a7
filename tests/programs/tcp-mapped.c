/* IPv4 through IPv6 sockets: a listener for both, clients of both families, and the names they see. */
#include "inet.h"

int main(void) {
    int listener = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    set_option(listener, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any}, mapped = any, name;
    MUST(bind(listener, (struct sockaddr *)&any, sizeof any));
    MUST(listen(listener, 8));
    int port = port_of(listener, false);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
    mapped.sin6_port = htons((uint16_t)port);
    int clients[] = {call(AF_INET, port), call(AF_INET6, port), MUST(socket(AF_INET6, SOCK_STREAM, 0))}, servers[3];
    MUST(connect(clients[2], (struct sockaddr *)&mapped, sizeof mapped));
    struct sockaddr_in6 before[3];
    socklen_t length;
    for (int i = 0; i < 3; i++) {
        servers[i] = MUST(accept(listener, NULL, NULL));
        length = sizeof *before;
        MUST(getpeername(servers[i], (struct sockaddr *)&before[i], &length));
        write_all(clients[i], &"abc"[i], 1);
        write_all(servers[i], &"xyz"[i], 1);
    }
    ready();
    char byte;
    for (int i = 0; i < 3; i++) {
        length = sizeof name;
        MUST(getpeername(servers[i], (struct sockaddr *)&name, &length));
        CHECK(length == sizeof name && memcmp(&name, &before[i], sizeof name) == 0, "server %d sees another name", i);
        read_all(servers[i], &byte, 1);
        CHECK(byte == "abc"[i], "server %d reads %c", i, byte);
        read_all(clients[i], &byte, 1);
        CHECK(byte == "xyz"[i], "client %d reads %c", i, byte);
    }
    CHECK(call(AF_INET, port) >= 0 && call(AF_INET6, port) >= 0, "the listener is for one family only");
    return passed();
}
