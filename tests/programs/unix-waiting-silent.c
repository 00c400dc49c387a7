/* Connections that wait to be accepted and have not said anything: accepted in the order in which they came. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

enum { COUNT = 5 };

static void run(const struct sockaddr_un *name, socklen_t length, int kind, int *clients, int *listener) {
    *listener = MUST(socket(AF_UNIX, kind | SOCK_NONBLOCK, 0));
    unlink(name->sun_path);
    MUST(bind(*listener, (const struct sockaddr *)name, length));
    MUST(listen(*listener, COUNT));
    for (int i = 0; i < COUNT; i++) {
        clients[i] = MUST(socket(AF_UNIX, kind, 0));
        MUST(connect(clients[i], (const struct sockaddr *)name, length));
    }
    MUST(shutdown(clients[3], SHUT_WR));
}

static void look(int *clients, int listener) {
    for (int i = 0; i < COUNT; i++) {
        char text[16] = {0};
        int server = accept(listener, NULL, NULL);
        CHECK(server >= 0, "connection %d is lost", i);
        write_all(server, "hi", 2);
        CHECK(recv(clients[i], text, 2, MSG_DONTWAIT) == 2, "client %d is not the one that was accepted", i);
        ssize_t sent = send(clients[i], "more", 4, MSG_NOSIGNAL);
        CHECK(i == 3 ? sent < 0 && errno == EPIPE : sent == 4, "client %d sends %zd", i, sent);
        CHECK(read(server, text, 16) == (i == 3 ? 0 : 4), "client %d is not heard", i);
        struct ucred who;
        socklen_t length = sizeof who;
        MUST(getsockopt(server, SOL_SOCKET, SO_PEERCRED, &who, &length));
        CHECK(who.pid == getpid(), "it was %d who called", who.pid);
    }
    CHECK(accept(listener, NULL, NULL) < 0 && errno == EAGAIN, "more connections than were");
}

int main(void) {
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-silent"};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-silent"};
    int clients[2][COUNT], listeners[2];
    run(&path, sizeof path, SOCK_STREAM, clients[0], &listeners[0]);
    run(&abstract, offsetof(struct sockaddr_un, sun_path) + 17, SOCK_SEQPACKET, clients[1], &listeners[1]);
    ready();
    look(clients[0], listeners[0]);
    look(clients[1], listeners[1]);
    unlink(path.sun_path);
    return passed();
}
