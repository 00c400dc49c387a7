/* Urgent data of a unix socket that is not read yet: refused for that moment, and it is still there. */
#include "check.h"
#include <poll.h>

int main(void) {
    int pair[2];
    char text[8];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    write_all(pair[0], "before", 6);
    MUST(send(pair[0], "!", 1, MSG_OOB));
    write_all(pair[0], "after", 5);
    struct pollfd poller = {pair[1], POLLPRI, 0};
    CHECK(poll(&poller, 1, 20000) == 1, "the test itself");
    expect_refusal_of(pair[1], "it has urgent data that is not read yet");
    ready();
    CHECK(recv(pair[1], text, 1, MSG_OOB) == 1 && text[0] == '!', "no urgent data");
    read_all(pair[1], text, 6);
    read_all(pair[1], text, 5);
    CHECK(memcmp(text, "after", 5) == 0, "what came behind it is %.5s", text);
    return passed();
}
