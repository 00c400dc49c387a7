/* Connections that wait to be accepted and have sent something, with own ports that others have too: the kernel gives
 * one port to several that ask different listeners. */
#include "inet.h"

#ifndef IP_LOCAL_PORT_RANGE /* since Linux 6.3 */
#define IP_LOCAL_PORT_RANGE 51
#endif

/* Asks from this port, and allows others to have it as well. */
static int call_from(int own, int port) {
    socklen_t length;
    struct sockaddr_storage address = on_loop(AF_INET, own, &length);
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    MUST(bind(fd, (struct sockaddr *)&address, length));
    address = on_loop(AF_INET, port, &length);
    MUST(connect(fd, (struct sockaddr *)&address, length));
    return fd;
}

/* The same, but that the kernel chose the port. */
static int call_by_range(int own, int port) {
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    uint32_t range = (uint32_t)own << 16 | (uint32_t)own;
    if (setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof range) == 0) {
        socklen_t length;
        struct sockaddr_storage address = on_loop(AF_INET, port, &length);
        MUST(connect(fd, (struct sockaddr *)&address, length));
        CHECK(port_of(fd, false) == own, "the test itself: port %d", port_of(fd, false));
        return fd;
    }
    CHECK(errno == ENOPROTOOPT, "the range of ports: %s", strerror(errno));
    close(fd);
    return call(AF_INET, port);
}

static void hears(int accepted, int port, const char *text) {
    char said[8];
    CHECK(port_of(accepted, true) == port, "%s comes from port %d", text, port_of(accepted, true));
    read_all(accepted, said, 4);
    CHECK(memcmp(said, text, 4) == 0, "%s is %.4s", text, said);
}

int main(void) {
    int waited = listen_on(AF_INET, 8), other = listen_on(AF_INET, 8);
    int port = port_of(waited, false), others_port = port_of(other, false);
    int first = call(AF_INET, others_port), first_port = port_of(first, false);
    int first_accepted = MUST(accept(other, NULL, NULL));
    int second = call_by_range(first_port, port), second_port = port_of(second, false);
    write_all(second, "live", 4);
    /* A port of this program alone. */
    int choice = listen_on(AF_INET, 1), free_port = port_of(choice, false);
    close(choice);
    int gone = call_from(free_port, port);
    write_all(gone, "gone", 4);
    int third = call_from(free_port, others_port);
    int third_accepted = MUST(accept(other, NULL, NULL));
    set_option(gone, SOL_SOCKET, SO_REUSEADDR, 0);
    set_option(third, SOL_SOCKET, SO_REUSEADDR, 0);
    close(gone);
    ready();
    char text[8];
    int accepted = MUST(accept(waited, NULL, NULL));
    hears(accepted, second_port, "live");
    CHECK(port_of(second, false) == second_port, "its own port is %d", port_of(second, false));
    write_all(accepted, "back", 4);
    read_all(second, text, 4);
    accepted = MUST(accept(waited, NULL, NULL));
    hears(accepted, free_port, "gone");
    CHECK(read(accepted, text, 1) == 0, "who is gone goes on");
    MUST(fcntl(waited, F_SETFL, O_NONBLOCK));
    CHECK(accept(waited, NULL, NULL) < 0 && errno == EAGAIN, "more connections than were");
    write_all(first, "1", 1);
    read_all(first_accepted, text, 1);
    write_all(third, "3", 1);
    read_all(third_accepted, text, 1);
    CHECK(port_of(third_accepted, true) == free_port && port_of(first_accepted, true) == first_port, "other ports");
    for (int i = 0; i < 3; i++) {
        int fd = (int[]){first, second, third}[i];
        CHECK(option(fd, SOL_SOCKET, SO_REUSEADDR) == 0, "%d allows others its address", i);
    }
    return passed();
}
