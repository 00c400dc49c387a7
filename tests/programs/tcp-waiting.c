/* Connections that wait to be accepted, queues that are full, and who can't get in: one waits in connect(), one
 * asks without waiting. */
#include "inet.h"

static int crowded_port;

static int in_connect(void *unused) {
    (void)unused;
    int fd = call(AF_INET, crowded_port);
    char text[4];
    read_all(fd, text, 4);
    return memcmp(text, "late", 4) == 0 ? 14 : 1;
}

int main(void) {
    int listener = listen_on(AF_INET, 8), full = listen_on(AF_INET, 0), crowded = listen_on(AF_INET, 0), clients[4];
    int port = port_of(listener, false), full_port = port_of(full, false);
    crowded_port = port_of(crowded, false);
    for (int i = 0; i < 4; i++) clients[i] = call(AF_INET, port);
    MUST(shutdown(clients[2], SHUT_WR));
    /* One fits into the queue; the next is not even heard. */
    int first = call(AF_INET, full_port);
    MUST(call(AF_INET, crowded_port));
    int asking = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    socklen_t length;
    struct sockaddr_storage address = on_loop(AF_INET, full_port, &length);
    CHECK(connect(asking, (struct sockaddr *)&address, length) < 0 && errno == EINPROGRESS, "the test itself");
    CHECK(state_of(asking) == TCP_SYN_SENT, "the test itself: state %d", state_of(asking));
    pid_t pid = child(in_connect, NULL);
    ready();
    char text[8];
    for (int i = 0; i < 4; i++) {
        int server = MUST(accept(listener, NULL, NULL));
        CHECK(port_of(server, true) == port_of(clients[i], false), "client %d was not the next", i);
        write_all(server, "hi", 2);
        read_all(clients[i], text, 2);
        if (i == 2) CHECK(read(server, text, 1) == 0, "client 2 has not ended");
        else write_all(clients[i], "more", 4), read_all(server, text, 4);
    }
    CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0 && accept(listener, NULL, NULL) < 0, "more than had come");
    int one = MUST(accept(full, NULL, NULL));
    CHECK(port_of(one, true) == port_of(first, false), "another one was first");
    /* Those that were not heard ask again by themselves. */
    await(full, POLLIN);
    int late = MUST(accept(full, NULL, NULL));
    CHECK(port_of(late, true) == port_of(asking, false), "it is not the one that asked");
    MUST(accept(crowded, NULL, NULL));
    await(crowded, POLLIN);
    write_all(MUST(accept(crowded, NULL, NULL)), "late", 4);
    await(asking, POLLOUT);
    CHECK(option(asking, SOL_SOCKET, SO_ERROR) == 0 && state_of(asking) == TCP_ESTABLISHED, "it is not connected");
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 14, "connect ended with %x", status);
    return passed();
}
