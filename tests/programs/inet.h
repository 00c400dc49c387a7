/* What the programs about the network share: sockets on the loop. */
#ifndef INET_H
#define INET_H

#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

/* 127.0.0.1 or ::1 with this port; 0 lets the kernel choose. */
__attribute__((unused)) static struct sockaddr_storage on_loop(int family, int port, socklen_t *length) {
    struct sockaddr_storage address = {0};
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        *v4 = (struct sockaddr_in){AF_INET, htons((uint16_t)port), {htonl(INADDR_LOOPBACK)}, {0}};
        *length = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
        *length = sizeof *v6;
    }
    return address;
}

/* The own port of a socket, or the other side's. */
__attribute__((unused)) static int port_of(int fd, bool other) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    MUST((other ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &length));
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

__attribute__((unused)) static int listen_on(int family, int backlog) {
    socklen_t length;
    struct sockaddr_storage address = on_loop(family, 0, &length);
    int fd = MUST(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    MUST(bind(fd, (struct sockaddr *)&address, length));
    MUST(listen(fd, backlog));
    return fd;
}

__attribute__((unused)) static int call(int family, int port) {
    socklen_t length;
    struct sockaddr_storage address = on_loop(family, port, &length);
    int fd = MUST(socket(family, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&address, length));
    return fd;
}

/* A connection: the asking side, the accepting one. */
__attribute__((unused)) static void connection(int family, int pair[2]) {
    int listener = listen_on(family, 1);
    pair[0] = call(family, port_of(listener, false));
    pair[1] = MUST(accept(listener, NULL, NULL));
    close(listener);
}

__attribute__((unused)) static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    MUST(getsockopt(fd, level, name, &value, &length));
    return value;
}

__attribute__((unused)) static void set_option(int fd, int level, int name, int value) {
    MUST(setsockopt(fd, level, name, &value, sizeof value));
}

/* The kernel's name of a TCP socket's state. */
__attribute__((unused)) static int state_of(int fd) {
    struct tcp_info info;
    socklen_t length = sizeof info;
    MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    return info.tcpi_state;
}

/* Waits until something can be read, at most 20 seconds. */
__attribute__((unused)) static short await(int fd, short events) {
    struct pollfd poller = {fd, events, 0};
    CHECK(poll(&poller, 1, 20000) == 1, "nothing comes through descriptor %d", fd);
    return poller.revents;
}

#endif
