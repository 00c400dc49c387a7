/* A UDP socket with an error in its queue of errors, which only reading would show: refused for that moment. */
#include "inet.h"

int main(void) {
    socklen_t length;
    struct sockaddr_storage any = on_loop(AF_INET, 0, &length);
    int nobody = MUST(socket(AF_INET, SOCK_DGRAM, 0)), fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(bind(nobody, (struct sockaddr *)&any, length));
    any = on_loop(AF_INET, port_of(nobody, false), &length);
    close(nobody);
    set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    MUST(connect(fd, (struct sockaddr *)&any, length));
    write_all(fd, "hello", 5);
    CHECK(await(fd, 0) & POLLERR, "the test itself");
    expect_refusal_of(fd, "it has an error that the program has not been told");
    ready();
    char text[8];
    CHECK(recv(fd, text, sizeof text, MSG_ERRQUEUE) == 5 && memcmp(text, "hello", 5) == 0, "the error is lost");
    return passed();
}
