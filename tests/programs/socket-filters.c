/* Packet filters of sockets (SO_ATTACH_FILTER) of every kind that has one: they hold back what they held back, not what was
 * there before them, and a lock stays. */
#include "inet.h"
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sys/un.h>

#ifndef SO_LOCK_FILTER
#define SO_LOCK_FILTER 44
#endif

enum { UDP, UDP6, DATAGRAM, PACKET, ALL };
static const char *const names[ALL] = {"UDP", "UDP on IPv6", "unix datagram", "unix packet"};

/* Only what has this byte at this place comes through. False if the kernel allows no filter there: newer ones forbid those
 * of TCP without a capability. */
static bool attach(int fd, unsigned place, char byte) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, place), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned char)byte, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffff), BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0) return true;
    CHECK(errno == EPERM && option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP, "it takes no filter");
    return false;
}

static void expect(int fd, const char *text, const char *which) {
    char room[64];
    ssize_t got = recv(fd, room, sizeof room, MSG_DONTWAIT);
    CHECK(got == (ssize_t)strlen(text) && memcmp(room, text, (size_t)got) == 0, "%s: not %s but %zd bytes", which, text, got);
}

static unsigned filter_of(int fd, struct sock_filter room[16]) {
    socklen_t length = 16;
    MUST(getsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, room, &length));
    return length;
}

int main(void) {
    int ends[ALL][2], locked[2], stream[2], listener = listen_on(AF_INET, 5), netlink = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    for (int i = 0; i < 2; i++) {
        int family = i ? AF_INET6 : AF_INET;
        socklen_t length;
        struct sockaddr_storage any = on_loop(family, 0, &length);
        for (int side = 0; side < 2; side++) {
            ends[i][side] = MUST(socket(family, SOCK_DGRAM, 0));
            MUST(bind(ends[i][side], (struct sockaddr *)&any, length));
        }
        any = on_loop(family, port_of(ends[i][0], false), &length);
        MUST(connect(ends[i][1], (struct sockaddr *)&any, length));
    }
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends[DATAGRAM]));
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends[PACKET]));
    connection(AF_INET, stream);
    for (int i = 0; i < ALL; i++) {
        write_all(ends[i][1], "before", 6);
        await(ends[i][0], POLLIN);
        /* A filter of UDP sees the header, 8 bytes. */
        attach(ends[i][0], i < DATAGRAM ? 8 : 0, 'y');
        write_all(ends[i][1], "no", 2);
        write_all(ends[i][1], "yes", 3);
    }
    /* One that lets everything through, and can't be taken off. */
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, locked));
    struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, 0xffffff)};
    struct sock_fprog program = {1, all};
    MUST(setsockopt(locked[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    set_option(locked[1], SOL_SOCKET, SO_LOCK_FILTER, 1);
    write_all(stream[0], "stream", 6);
    await(stream[1], POLLIN);
    /* Port and flags are there; nothing comes through any more. */
    unsigned of_tcp = attach(listener, 0, 1) && attach(stream[1], 0, 3) ? 4 : 0;
    attach(netlink, 0, 2);
    ready();
    for (int i = 0; i < ALL; i++) {
        expect(ends[i][0], "before", names[i]);
        expect(ends[i][0], "yes", names[i]);
        write_all(ends[i][1], "never", 5);
        write_all(ends[i][1], "you", 3);
        await(ends[i][0], POLLIN);
        expect(ends[i][0], "you", names[i]);
        char byte;
        CHECK(recv(ends[i][0], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "%s: too much comes through", names[i]);
        set_option(ends[i][0], SOL_SOCKET, SO_DETACH_FILTER, 0);
        write_all(ends[i][1], "never", 5);
        await(ends[i][0], POLLIN);
        expect(ends[i][0], "never", names[i]);
    }
    struct sock_filter room[16];
    CHECK(filter_of(locked[1], room) == 1 && room[0].k == 0xffffff, "the locked filter is another");
    CHECK(option(locked[1], SOL_SOCKET, SO_LOCK_FILTER) == 1, "it is not locked");
    int none = 0;
    CHECK(setsockopt(locked[1], SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none) < 0 && errno == EPERM, "it can be taken off");
    CHECK(option(locked[0], SOL_SOCKET, SO_LOCK_FILTER) == 0 && filter_of(locked[0], room) == 0, "the other side has one");
    char text[8];
    read_all(stream[1], text, 6);
    CHECK(filter_of(listener, room) == of_tcp && filter_of(stream[1], room) == of_tcp, "TCP's filters");
    CHECK(filter_of(netlink, room) == 4 && room[1].k == 2, "the netlink socket's filter");
    return passed();
}
