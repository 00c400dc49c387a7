/* Nobody was where a datagram went, and the program has not been told: refused for that moment. */
#include "inet.h"

int main(void) {
    socklen_t length;
    struct sockaddr_storage any = on_loop(AF_INET, 0, &length);
    int nobody = MUST(socket(AF_INET, SOCK_DGRAM, 0)), fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(bind(nobody, (struct sockaddr *)&any, length));
    any = on_loop(AF_INET, port_of(nobody, false), &length);
    close(nobody);
    MUST(connect(fd, (struct sockaddr *)&any, length));
    write_all(fd, "hello", 5);
    CHECK(await(fd, POLLIN) & POLLERR, "the test itself");
    expect_refusal("it has an error that the program has not been told");
    ready();
    CHECK(send(fd, "again", 5, 0) < 0 && errno == ECONNREFUSED, "nobody says that nobody is there");
    return passed();
}
