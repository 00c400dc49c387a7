/* Urgent data that is not read yet, TCP and unix: refused for that moment, and it is still there. */
#include "inet.h"

int main(void) {
    int tcp[2], local[2];
    char text[8];
    connection(AF_INET, tcp);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, local));
    for (int i = 0; i < 2; i++) {
        int *pair = i ? local : tcp;
        write_all(pair[0], "before", 6);
        /* Unix sockets may be without it. */
        if (send(pair[0], "!", 1, MSG_OOB) < 0) continue;
        write_all(pair[0], "after", 5);
    }
    CHECK(await(tcp[1], POLLPRI) & POLLPRI, "the test itself");
    expect_refusal("it has urgent data that is not read yet");
    ready();
    CHECK(recv(tcp[1], text, 1, MSG_OOB) == 1 && text[0] == '!', "no urgent data");
    read_all(tcp[1], text, 6);
    read_all(tcp[1], text, 5);
    CHECK(memcmp(text, "after", 5) == 0, "what came behind it is %.5s", text);
    return passed();
}
