/* Connections that wait to be accepted and have sent something: open, half closed and closed ones, of the same
 * program and of another one, whose sockets are waited for by an epoll and have options; in their order. */
#include "inet.h"
#include <sys/epoll.h>

enum { SILENT, SENT, HALF_CLOSED, CLOSED, CLOSED_SILENT, LATE, URGENT, OTHERS, COUNT };

static struct server {
    int family, listener, clients[COUNT], ports[COUNT], epoll;
    pid_t other;
} servers[2];

/* A program that has asked, waits for an answer, and goes on by it. */
static int others_body(void *argument) {
    struct server *server = argument;
    char text[8];
    int fd = server->clients[OTHERS];
    read_all(fd, text, 2);
    write_all(fd, "more", 4);
    return read(fd, text, 1) == 0 ? 17 : 1;
}

static void run(struct server *server) {
    server->listener = listen_on(server->family, COUNT);
    server->epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
    int port = port_of(server->listener, false);
    for (int i = 0; i < COUNT; i++) {
        int fd = server->clients[i] = call(server->family, port);
        server->ports[i] = port_of(fd, false);
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)i};
        MUST(epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event));
        char text[16];
        snprintf(text, sizeof text, "client %d", i);
        if (i != SILENT && i != CLOSED_SILENT) write_all(fd, text, 8);
        if (i == SENT) set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (i == HALF_CLOSED) MUST(shutdown(fd, SHUT_WR));
        if (i == URGENT) {
            CHECK(send(fd, "!", 1, MSG_OOB) == 1, "no urgent data");
            write_all(fd, "after", 5);
        }
        if (i == CLOSED || i == CLOSED_SILENT) close(fd);
    }
    server->other = child(others_body, server);
    close(server->clients[OTHERS]);
}

static void look(struct server *server) {
    char text[32];
    for (int i = 0; i < COUNT; i++) {
        int taken = MUST(accept(server->listener, NULL, NULL)), client = server->clients[i];
        CHECK(port_of(taken, true) == server->ports[i], "client %d was not the next", i);
        if (i != SILENT && i != CLOSED_SILENT) {
            read_all(taken, text, 8);
            CHECK(memcmp(text, "client ", 7) == 0 && text[7] == '0' + i, "client %d said %.8s", i, text);
        }
        if (i == URGENT) {
            CHECK(recv(taken, text, 1, MSG_OOB) == 1 && *text == '!', "no urgent data");
            read_all(taken, text, 5);
            CHECK(memcmp(text, "after", 5) == 0, "behind it came %.5s", text);
        }
        if (i == CLOSED || i == CLOSED_SILENT) {
            CHECK(read(taken, text, 1) == 0, "client %d goes on", i);
            close(taken);
            continue;
        }
        write_all(taken, "hi", 2);
        if (i != OTHERS) {
            struct epoll_event event;
            CHECK(epoll_wait(server->epoll, &event, 1, 20000) == 1, "nothing comes to client %d", i);
            CHECK(event.data.u64 == (uint64_t)i && event.events == EPOLLIN, "client %d: %x", (int)event.data.u64, event.events);
            MUST(epoll_ctl(server->epoll, EPOLL_CTL_DEL, client, NULL));
            read_all(client, text, 2);
            CHECK(option(client, SOL_SOCKET, SO_ERROR) == 0, "client %d has an error", i);
            CHECK(option(client, IPPROTO_TCP, TCP_NODELAY) == (i == SENT), "its options");
            CHECK(option(client, SOL_SOCKET, SO_REUSEADDR) == 0, "client %d shares its address", i);
            CHECK((fcntl(client, F_GETFL) & O_NONBLOCK) == 0, "client %d does not wait", i);
            if (i != HALF_CLOSED) write_all(client, "more", 4);
        }
        if (i != HALF_CLOSED) {
            read_all(taken, text, 4);
            CHECK(memcmp(text, "more", 4) == 0, "client %d goes on with %.4s", i, text);
        } else CHECK(read(taken, text, 1) == 0, "client %d has not ended", i);
        close(taken);
    }
    int status;
    MUST(waitpid(server->other, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 17, "the other program: %x", status);
    MUST(fcntl(server->listener, F_SETFL, O_NONBLOCK));
    CHECK(accept(server->listener, NULL, NULL) < 0 && errno == EAGAIN, "more connections than were");
    /* It listens on. */
    int fresh = call(server->family, port_of(server->listener, false));
    await(server->listener, POLLIN);
    write_all(MUST(accept(server->listener, NULL, NULL)), "new", 3);
    read_all(fresh, text, 3);
}

int main(void) {
    servers[0].family = AF_INET;
    servers[1].family = AF_INET6;
    run(&servers[0]);
    run(&servers[1]);
    ready();
    look(&servers[0]);
    look(&servers[1]);
    return passed();
}
