/* Connections inside the session, with bytes under way in both directions; a server with several clients. */
#include "inet.h"

int main(void) {
    const int families[] = {AF_INET, AF_INET6};
    int listeners[2], clients[2][3], servers[2][3], ports[2][3];
    for (int f = 0; f < 2; f++) {
        listeners[f] = listen_on(families[f], 8);
        for (int i = 0; i < 3; i++) {
            clients[f][i] = call(families[f], port_of(listeners[f], false));
            servers[f][i] = MUST(accept(listeners[f], NULL, NULL));
            ports[f][i] = port_of(clients[f][i], false);
            char text[16];
            snprintf(text, sizeof text, "to server %d", i);
            write_all(clients[f][i], text, 11);
            snprintf(text, sizeof text, "to client %d", i);
            write_all(servers[f][i], text, 11);
        }
    }
    ready();
    for (int f = 0; f < 2; f++) {
        for (int i = 0; i < 3; i++) {
            int client = clients[f][i], server = servers[f][i];
            char text[16];
            CHECK(port_of(client, false) == ports[f][i] && port_of(server, true) == ports[f][i], "another port: %d", port_of(client, false));
            CHECK(port_of(client, true) == port_of(listeners[f], false), "it is connected with another");
            read_all(server, text, 11);
            CHECK(memcmp(text, "to server ", 10) == 0 && text[10] == '0' + i, "server %d reads %.11s", i, text);
            read_all(client, text, 11);
            CHECK(memcmp(text, "to client ", 10) == 0 && text[10] == '0' + i, "client %d reads %.11s", i, text);
            CHECK(recv(server, text, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more than was sent");
            write_all(client, "on", 2);
            read_all(server, text, 2);
            write_all(server, "and on", 6);
            read_all(client, text, 6);
            CHECK(memcmp(text, "and on", 6) == 0 && state_of(client) == TCP_ESTABLISHED, "it does not go on");
        }
        int fresh = call(families[f], port_of(listeners[f], false)), taken = MUST(accept(listeners[f], NULL, NULL));
        close(fresh);
        char byte;
        CHECK(read(taken, &byte, 1) == 0, "a new connection does not end");
        close(clients[f][0]);
        CHECK(read(servers[f][0], &byte, 1) == 0, "an old connection does not end");
        CHECK(fcntl(listeners[f], F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    }
    return passed();
}
