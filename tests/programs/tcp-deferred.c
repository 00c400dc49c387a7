/* A listener that lets nobody in who has not sent anything (TCP_DEFER_ACCEPT), as web servers do: a client that is silent
 * and believes to be connected, one that has sent something, one that is closed. */
#include "inet.h"

static int listeners[2], clients[2][2], gone_ports[2], wanted[2];

static void run(int which) {
    int listener, *client = clients[which];
    if (which == 0) {
        listener = listen_on(AF_INET, 8);
    } else {
        /* For both families. */
        struct sockaddr_in6 any = {.sin6_family = AF_INET6};
        listener = MUST(socket(AF_INET6, SOCK_STREAM, 0));
        MUST(bind(listener, (struct sockaddr *)&any, sizeof any));
        MUST(listen(listener, 8));
    }
    listeners[which] = listener;
    set_option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 30000);
    wanted[which] = option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT);
    int port = port_of(listener, false);
    for (int i = 0; i < 2; i++) client[i] = call(AF_INET, port);
    int gone = call(AF_INET, port);
    gone_ports[which] = port_of(gone, false);
    write_all(client[1], "sent", 4);
    write_all(gone, "gone", 4);
    close(gone);
    CHECK(state_of(client[0]) == TCP_ESTABLISHED, "the test itself");
}

static void look(int which) {
    int listener = listeners[which], *client = clients[which];
    char text[8];
    int first = MUST(accept(listener, NULL, NULL)), second = MUST(accept(listener, NULL, NULL));
    CHECK(port_of(first, true) == port_of(client[1], false), "another one was first");
    read_all(first, text, 4);
    CHECK(memcmp(text, "sent", 4) == 0, "it says %.4s", text);
    write_all(first, "hi", 2);
    read_all(client[1], text, 2);
    CHECK(port_of(second, true) == gone_ports[which], "another one was second");
    read_all(second, text, 4);
    CHECK(memcmp(text, "gone", 4) == 0 && read(second, text, 1) == 0, "the closed one says %.4s", text);
    CHECK(option(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT) == wanted[which], "it lets everybody in");
    MUST(fcntl(listener, F_SETFL, O_NONBLOCK));
    CHECK(accept(listener, NULL, NULL) < 0 && errno == EAGAIN, "the silent one was let in");
    CHECK(state_of(client[0]) == TCP_ESTABLISHED, "the silent one is in state %d", state_of(client[0]));
    write_all(client[0], "late", 4);
    await(listener, POLLIN);
    int third = MUST(accept(listener, NULL, NULL));
    read_all(third, text, 4);
    CHECK(memcmp(text, "late", 4) == 0 && port_of(third, true) == port_of(client[0], false), "the silent one says %.4s", text);
}

int main(void) {
    for (int i = 0; i < 2; i++) run(i);
    ready();
    for (int i = 0; i < 2; i++) look(i);
    return passed();
}
