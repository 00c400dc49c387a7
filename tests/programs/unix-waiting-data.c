/* Connections that wait to be accepted and have sent something: open, half closed and closed ones, of the same
 * program and of another one, whose sockets are waited for by epolls, are shared and have options; in their order. */
#include "check.h"
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/un.h>

enum { SILENT, SENT, HALF_CLOSED, CLOSED, CLOSED_SILENT, TWICE, SHARED, OTHERS, LAST, COUNT };

static struct server {
    int kind, listener, clients[COUNT], second, epolls[2];
    pid_t sharer, other;
    struct sockaddr_un name;
    socklen_t length;
} servers[2];

static int call(struct server *server) {
    int fd = MUST(socket(AF_UNIX, server->kind | SOCK_CLOEXEC, 0));
    MUST(connect(fd, (struct sockaddr *)&server->name, server->length));
    return fd;
}

/* Holds a client's socket too, and goes on with it once somebody has answered. */
static int sharer_body(void *argument) {
    struct server *server = argument;
    char text[8];
    read_all(server->clients[SHARED], text, 2);
    write_all(server->clients[SHARED], "shared", 6);
    return 17;
}

/* Has asked itself. */
static int others_body(void *argument) {
    struct server *server = argument;
    char text[8];
    int fd = call(server);
    write_all(fd, "client 7", 8);
    check_say("asked", "yes");
    read_all(fd, text, 2);
    write_all(fd, "more", 4);
    return read(fd, text, 1) == 0 ? 18 : 1;
}

static void watch(int epoll, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

static void run(struct server *server) {
    server->listener = MUST(socket(AF_UNIX, server->kind, 0));
    if (server->name.sun_path[0]) unlink(server->name.sun_path);
    MUST(bind(server->listener, (struct sockaddr *)&server->name, server->length));
    MUST(listen(server->listener, 2 * COUNT));
    for (int i = 0; i < 2; i++) server->epolls[i] = MUST(epoll_create1(EPOLL_CLOEXEC));
    for (int i = 0; i < COUNT; i++) {
        if (i == OTHERS) {
            unlink(in_folder("asked"));
            server->other = child(others_body, server);
            while (access(in_folder("asked"), F_OK) < 0) sched_yield();
            continue;
        }
        int fd = server->clients[i] = call(server);
        watch(server->epolls[0], fd, EPOLLIN, (uint64_t)i);
        char text[16];
        snprintf(text, sizeof text, "client %d", i);
        if (i != SILENT && i != CLOSED_SILENT) write_all(fd, text, 8);
        if (i == SENT) {
            struct timeval soon = {.tv_sec = 5000};
            MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon));
            MUST(fcntl(fd, F_SETFL, O_NONBLOCK));
            MUST(fcntl(fd, F_SETFD, 0));
        }
        if (i == HALF_CLOSED) MUST(shutdown(fd, SHUT_WR));
        if (i == CLOSED || i == CLOSED_SILENT) close(fd);
        if (i == TWICE) {
            server->second = MUST(dup(fd));
            watch(server->epolls[1], server->second, EPOLLIN | EPOLLONESHOT, 77);
            write_all(server->second, "again", 5);
        }
        if (i == SHARED) server->sharer = child(sharer_body, server);
    }
}

static void answered(int epoll, uint64_t data) {
    struct epoll_event event;
    CHECK(epoll_wait(epoll, &event, 1, 20000) == 1, "nothing comes for %d", (int)data);
    CHECK(event.data.u64 == data && event.events & EPOLLIN, "not %d but %d: %x", (int)data, (int)event.data.u64, event.events);
}

static void ended(pid_t pid, int code) {
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code, "another program: %x", status);
}

static void look(struct server *server) {
    char text[32];
    for (int i = 0; i < COUNT; i++) {
        int taken = MUST(accept(server->listener, NULL, NULL)), client = server->clients[i];
        if (i != SILENT && i != CLOSED_SILENT) {
            read_all(taken, text, 8);
            CHECK(memcmp(text, "client ", 7) == 0 && text[7] == '0' + i, "client %d said %.8s", i, text);
        }
        if (i == CLOSED || i == CLOSED_SILENT) {
            CHECK(read(taken, text, 1) == 0, "client %d goes on", i);
            close(taken);
            continue;
        }
        struct ucred who;
        socklen_t length = sizeof who;
        MUST(getsockopt(taken, SOL_SOCKET, SO_PEERCRED, &who, &length));
        CHECK(who.pid == (i == OTHERS ? server->other : getpid()) && who.uid == getuid(), "client %d is process %d", i, who.pid);
        if (i == TWICE) {
            read_all(taken, text, 5);
            CHECK(memcmp(text, "again", 5) == 0, "the second of its messages is %.5s", text);
        }
        write_all(taken, "hi", 2);
        if (i == OTHERS) {
            read_all(taken, text, 4);
            close(taken);
            ended(server->other, 18);
            continue;
        }
        if (i == SHARED) {
            read_all(taken, text, 6);
            CHECK(memcmp(text, "shared", 6) == 0, "the other program says %.6s", text);
            ended(server->sharer, 17);
            write_all(taken, "hi", 2);
        }
        answered(server->epolls[0], (uint64_t)i);
        if (i == TWICE) answered(server->epolls[1], 77);
        MUST(epoll_ctl(server->epolls[0], EPOLL_CTL_DEL, client, NULL));
        read_all(client, text, 2);
        CHECK(fcntl(client, F_GETFD) == (i == SENT ? 0 : FD_CLOEXEC), "client %d has other flags", i);
        CHECK(((fcntl(client, F_GETFL) & O_NONBLOCK) != 0) == (i == SENT), "client %d waits or does not", i);
        struct timeval limit;
        length = sizeof limit;
        MUST(getsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, &length));
        CHECK(limit.tv_sec == (i == SENT ? 5000 : 0), "client %d has other options", i);
        if (i == HALF_CLOSED) {
            CHECK(read(taken, text, 1) == 0, "client %d has not ended", i);
        } else {
            write_all(i == TWICE ? server->second : client, "more", 4);
            read_all(taken, text, 4);
            CHECK(memcmp(text, "more", 4) == 0, "client %d goes on with %.4s", i, text);
        }
        close(taken);
    }
    struct epoll_event event;
    for (int i = 0; i < COUNT; i++)
        if (i != CLOSED && i != CLOSED_SILENT && i != OTHERS) close(server->clients[i]);
    close(server->second);
    CHECK(epoll_wait(server->epolls[0], &event, 1, 0) == 0, "the epoll waits for %d still", (int)event.data.u64);
    MUST(fcntl(server->listener, F_SETFL, O_NONBLOCK));
    CHECK(accept(server->listener, NULL, NULL) < 0 && errno == EAGAIN, "more connections than were");
    int fresh = call(server), taken = MUST(accept(server->listener, NULL, NULL));
    write_all(taken, "new", 3);
    read_all(fresh, text, 3);
}

int main(void) {
    servers[0] = (struct server){.kind = SOCK_STREAM, .name = {AF_UNIX, "/tmp/roam-test-waiting"}, .length = sizeof servers[0].name};
    servers[1] = (struct server){.kind = SOCK_SEQPACKET, .name = {AF_UNIX, "\0roam-test-waiting"}};
    servers[1].length = offsetof(struct sockaddr_un, sun_path) + 18;
    run(&servers[0]);
    run(&servers[1]);
    ready();
    look(&servers[0]);
    look(&servers[1]);
    unlink(servers[0].name.sun_path);
    return passed();
}
