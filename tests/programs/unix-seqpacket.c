/* Sequenced packets: borders kept, both directions, an empty one, one side shut; a listener and its client. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

int main(void) {
    int pair[2];
    char text[64];
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    const char *messages[] = {"one", "a longer one", "x"};
    for (int i = 0; i < 3; i++) {
        write_all(pair[0], messages[i], strlen(messages[i]));
        write_all(pair[1], messages[2 - i], strlen(messages[2 - i]));
    }
    MUST(shutdown(pair[1], SHUT_WR));
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-seqpacket"};
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 20;
    int listener = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0)), client = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    MUST(bind(listener, (struct sockaddr *)&name, length));
    MUST(listen(listener, 3));
    MUST(connect(client, (struct sockaddr *)&name, length));
    int server = MUST(accept(listener, NULL, NULL));
    write_all(client, "request", 7);
    ready();
    CHECK(fcntl(pair[0], F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    for (int i = 0; i < 3; i++) {
        CHECK(recv(pair[1], text, 64, 0) == (ssize_t)strlen(messages[i]) && !memcmp(text, messages[i], strlen(messages[i])),
              "message %d is another", i);
        ssize_t wanted = (ssize_t)strlen(messages[2 - i]);
        CHECK(recv(pair[0], text, 64, 0) == wanted && memcmp(text, messages[2 - i], (size_t)wanted) == 0, "answer %d", i);
    }
    CHECK(recv(pair[0], text, 64, 0) == 0, "the shut side still sends");
    CHECK(send(pair[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "it can send again");
    write_all(pair[0], "on", 2);
    CHECK(recv(pair[1], text, 1, MSG_TRUNC) == 2, "the other way is shut as well");
    CHECK(recv(server, text, 64, 0) == 7, "the request is lost");
    write_all(server, "reply", 5);
    CHECK(recv(client, text, 64, 0) == 5, "the reply is lost");
    return passed();
}
