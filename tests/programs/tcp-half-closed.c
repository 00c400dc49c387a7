/* Connections of which one side has said that it sends no more, or reads no more, or both. */
#include "inet.h"

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int ended[2], both[2], deaf[2];
    connection(AF_INET, ended);
    connection(AF_INET6, both);
    connection(AF_INET, deaf);
    write_all(ended[0], "last words", 10);
    write_all(ended[1], "answer", 6);
    MUST(shutdown(ended[0], SHUT_WR));
    MUST(shutdown(deaf[0], SHUT_RD));
    write_all(both[0], "rest", 4);
    MUST(shutdown(both[0], SHUT_WR));
    MUST(shutdown(both[1], SHUT_WR));
    CHECK(await(ended[1], POLLRDHUP) & POLLRDHUP && await(both[0], POLLRDHUP) & POLLRDHUP, "the test itself");
    ready();
    CHECK((state_of(ended[0]) == TCP_FIN_WAIT1 || state_of(ended[0]) == TCP_FIN_WAIT2) && state_of(ended[1]) == TCP_CLOSE_WAIT, "states %d and %d", state_of(ended[0]), state_of(ended[1]));
    char text[16];
    read_all(ended[1], text, 10);
    CHECK(memcmp(text, "last words", 10) == 0, "other words");
    CHECK(read(ended[1], text, 1) == 0, "it does not end");
    CHECK(write(ended[0], "x", 1) < 0 && errno == EPIPE, "the side that ended sends");
    write_all(ended[1], "!", 1);
    read_all(ended[0], text, 7);
    CHECK(memcmp(text, "answer!", 7) == 0, "another answer");
    read_all(both[1], text, 4);
    CHECK(read(both[1], text, 1) == 0 && read(both[0], text, 1) == 0, "the one that is over does not end");
    CHECK(write(both[1], "x", 1) < 0, "the one that is over sends");
    CHECK(recv(deaf[0], text, 1, MSG_DONTWAIT) == 0, "the deaf one waits for something");
    write_all(deaf[0], "speaks", 6);
    read_all(deaf[1], text, 6);
    close(ended[1]);
    CHECK(read(ended[0], text, 1) == 0, "the answer does not end");
    return passed();
}
