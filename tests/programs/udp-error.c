/* Nobody was where a datagram went, and the program has not been told: it is told later, once. */
#include "inet.h"

static int sent_to_nobody(int family) {
    socklen_t length;
    struct sockaddr_storage any = on_loop(family, 0, &length);
    int nobody = MUST(socket(family, SOCK_DGRAM, 0)), fd = MUST(socket(family, SOCK_DGRAM, 0));
    MUST(bind(nobody, (struct sockaddr *)&any, length));
    any = on_loop(family, port_of(nobody, false), &length);
    close(nobody);
    MUST(connect(fd, (struct sockaddr *)&any, length));
    write_all(fd, "hello", 5);
    CHECK(await(fd, POLLIN) & POLLERR, "the test itself");
    return fd;
}

int main(void) {
    int families[] = {AF_INET, AF_INET6}, fds[2], ports[2][2], late[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = sent_to_nobody(families[i]);
        for (int other = 0; other < 2; other++) ports[i][other] = port_of(fds[i], other);
        /* Somebody is there by now. */
        socklen_t length;
        struct sockaddr_storage address = on_loop(families[i], ports[i][1], &length);
        late[i] = MUST(socket(families[i], SOCK_DGRAM, 0));
        MUST(bind(late[i], (struct sockaddr *)&address, length));
    }
    ready();
    for (int i = 0; i < 2; i++) {
        for (int other = 0; other < 2; other++) CHECK(port_of(fds[i], other) == ports[i][other], "another port");
        char text[8];
        CHECK(recv(late[i], text, sizeof text, MSG_DONTWAIT) < 0 && errno == EAGAIN, "something came that nobody sent");
        CHECK(send(fds[i], "again", 5, 0) < 0 && errno == ECONNREFUSED, "nobody says that nobody was there");
        CHECK(send(fds[i], "again", 5, 0) == 5, "it is said twice");
        CHECK(recv(late[i], text, sizeof text, 0) == 5 && memcmp(text, "again", 5) == 0, "nothing came");
    }
    return passed();
}
