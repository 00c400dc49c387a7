/* UDP options: addresses of datagrams (IP_PKTINFO), groups joined on the loop, broadcast, buffers, time to live. */
#include "inet.h"
#include <linux/in6.h>
#include <netinet/udp.h>

/* What programs choose, and what a new socket has not. */
static const struct { int level, name, value; } v4[] = {
    {SOL_SOCKET, SO_TIMESTAMP, 1}, {SOL_SOCKET, SO_RXQ_OVFL, 1}, {SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1}, {SOL_SOCKET, SO_ZEROCOPY, 1},
    {SOL_SOCKET, SO_BINDTOIFINDEX, 1}, {IPPROTO_IP, IP_FREEBIND, 1}, {IPPROTO_IP, IP_MINTTL, 3},
    {IPPROTO_IP, IP_MULTICAST_ALL, 0}, {IPPROTO_IP, IP_RECVOPTS, 1}, {IPPROTO_IP, IP_RETOPTS, 1}, {IPPROTO_IP, IP_RECVORIGDSTADDR, 1},
    {IPPROTO_IP, IP_CHECKSUM, 1}, {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1}, {IPPROTO_IP, IP_RECVERR, 1},
    {IPPROTO_UDP, UDP_SEGMENT, 700}, {IPPROTO_UDP, UDP_GRO, 1}, {IPPROTO_UDP, UDP_CORK, 1},
}, v6[] = {
    {SOL_SOCKET, SO_TIMESTAMPNS, 1}, {SOL_SOCKET, SO_TIMESTAMPING, 24},
    {IPPROTO_IPV6, IPV6_MTU_DISCOVER, 2}, {IPPROTO_IPV6, IPV6_RECVERR, 1}, {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1}, {IPPROTO_IPV6, IPV6_RECVRTHDR, 1},
    {IPPROTO_IPV6, IPV6_RECVHOPOPTS, 1}, {IPPROTO_IPV6, IPV6_RECVDSTOPTS, 1}, {IPPROTO_IPV6, IPV6_RECVPATHMTU, 1},
    {IPPROTO_IPV6, IPV6_2292HOPLIMIT, 1}, {IPPROTO_IPV6, IPV6_FLOWINFO, 1}, {IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1}, {IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0},
    {IPPROTO_IPV6, IPV6_DONTFRAG, 1}, {IPPROTO_IPV6, IPV6_RECVFRAGSIZE, 1}, {IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1}, {IPPROTO_IPV6, IPV6_FREEBIND, 1},
    {IPPROTO_IPV6, IPV6_MINHOPCOUNT, 2}, {IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0}, {IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, IPV6_PREFER_SRC_TMP | IPV6_PREFER_SRC_HOME},
    {IPPROTO_UDP, UDP_NO_CHECK6_TX, 1}, {IPPROTO_UDP, UDP_NO_CHECK6_RX, 1},
};
enum { V4 = sizeof v4 / sizeof *v4, V6 = sizeof v6 / sizeof *v6 };

/* Whom a socket hears in a group: only one sender, or all but one. */
static int whom(int fd, const char *group) {
    char room[sizeof(struct ip_msfilter) + 64] = {0};
    struct ip_msfilter *filter = (void *)room;
    *filter = (struct ip_msfilter){.imsf_multiaddr = {inet_addr(group)}, .imsf_interface = {htonl(INADDR_LOOPBACK)}, .imsf_numsrc = 4};
    socklen_t length = sizeof room;
    MUST(getsockopt(fd, IPPROTO_IP, IP_MSFILTER, filter, &length));
    return (int)(filter->imsf_numsrc * 10 + (filter->imsf_fmode == MCAST_INCLUDE));
}

static void senders(bool set) {
    static int fd;
    struct in_addr own = {htonl(INADDR_LOOPBACK)}, other = {inet_addr("127.0.0.77")}, some = {inet_addr("239.1.2.4")}, most = {inet_addr("239.1.2.5")};
    if (set) {
        fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
        struct ip_mreq_source only = {.imr_multiaddr = some, .imr_interface = own, .imr_sourceaddr = other};
        MUST(setsockopt(fd, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &only, sizeof only));
        struct ip_mreq all = {most, own};
        struct ip_mreq_source block = {.imr_multiaddr = most, .imr_interface = own, .imr_sourceaddr = own};
        MUST(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &all, sizeof all));
        MUST(setsockopt(fd, IPPROTO_IP, IP_BLOCK_SOURCE, &block, sizeof block));
    }
    CHECK(whom(fd, "239.1.2.4") == 11, "not one sender only: %d", whom(fd, "239.1.2.4"));
    CHECK(whom(fd, "239.1.2.5") == 10, "not all senders but one: %d", whom(fd, "239.1.2.5"));
}

static int chosen(bool set) {
    senders(set);
    static int fds[2];
    for (int i = 0; set && i < 2; i++) {
        socklen_t length;
        struct sockaddr_storage any = on_loop(i ? AF_INET6 : AF_INET, 0, &length);
        fds[i] = MUST(socket(i ? AF_INET6 : AF_INET, SOCK_DGRAM, 0));
        MUST(bind(fds[i], (struct sockaddr *)&any, length));
        any = on_loop(i ? AF_INET6 : AF_INET, port_of(fds[i], false), &length);
        /* It has something to itself that it has not read. */
        CHECK(sendto(fds[i], "to itself", 9, 0, (struct sockaddr *)&any, length) == 9, "the test itself");
    }
    for (int i = 0; i < V4 + V6; i++) {
        int fd = fds[i >= V4], level = i < V4 ? v4[i].level : v6[i - V4].level, name = i < V4 ? v4[i].name : v6[i - V4].name;
        int value = i < V4 ? v4[i].value : v6[i - V4].value;
        if (set) CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0, "option %d of level %d can't be set", name, level);
        CHECK(option(fd, level, name) == value, "option %d of level %d is %d", name, level, option(fd, level, name));
    }
    char room[16];
    for (int i = 0; !set && i < 2; i++)
        CHECK(recv(fds[i], room, sizeof room, MSG_DONTWAIT) == 9, "what was sent before is lost");
    return 0;
}

int main(void) {
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0)), member = MUST(socket(AF_INET, SOCK_DGRAM, 0)), six = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    struct sockaddr_in any = {AF_INET, 0, {INADDR_ANY}, {0}};
    MUST(bind(fd, (struct sockaddr *)&any, sizeof any));
    MUST(bind(member, (struct sockaddr *)&any, sizeof any));
    set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_option(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set_option(fd, SOL_SOCKET, SO_BROADCAST, 1);
    set_option(fd, SOL_SOCKET, SO_RCVBUF, 50000);
    set_option(fd, IPPROTO_IP, IP_TOS, 8);
    struct ip_mreqn join = {{inet_addr("239.1.2.3")}, {htonl(INADDR_LOOPBACK)}, 1};
    MUST(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join));
    MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &join.imr_address, sizeof join.imr_address));
    set_option(fd, IPPROTO_IP, IP_MULTICAST_TTL, 5);
    struct ipv6_mreq join6 = {.ipv6mr_interface = 1};
    inet_pton(AF_INET6, "ff02::77", &join6.ipv6mr_multiaddr);
    MUST(setsockopt(six, IPPROTO_IPV6, IPV6_JOIN_GROUP, &join6, sizeof join6));
    set_option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    int size = option(fd, SOL_SOCKET, SO_RCVBUF);
    struct sockaddr_in to = {AF_INET, htons((uint16_t)port_of(fd, false)), {inet_addr("127.0.0.9")}, {0}};
    CHECK(sendto(member, "queued", 6, 0, (struct sockaddr *)&to, sizeof to) == 6, "the test itself");
    chosen(true);
    ready();
    chosen(false);
    CHECK(option(fd, SOL_SOCKET, SO_BROADCAST) == 1 && option(member, SOL_SOCKET, SO_BROADCAST) == 0, "broadcast");
    CHECK(option(fd, SOL_SOCKET, SO_RCVBUF) == size && option(fd, IPPROTO_IP, IP_TOS) == 8, "buffer %d", option(fd, SOL_SOCKET, SO_RCVBUF));
    CHECK(option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1, "IPv6 options");
    for (int i = 0; i < 2; i++) {
        char text[16], room[256];
        struct iovec data = {text, sizeof text};
        struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
        CHECK(recvmsg(fd, &message, MSG_DONTWAIT) == 6, "datagram %d is lost", i);
        bool told = false;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
            struct in_pktinfo info;
            if (part->cmsg_type != IP_PKTINFO) continue;
            memcpy(&info, CMSG_DATA(part), sizeof info);
            told = info.ipi_addr.s_addr == inet_addr("127.0.0.9");
        }
        CHECK(told, "datagram %d was sent to another address", i);
        CHECK(i == 1 || sendto(member, "fresh!", 6, 0, (struct sockaddr *)&to, sizeof to) == 6, "nothing goes");
    }
    struct sockaddr_in group = {AF_INET, htons((uint16_t)port_of(member, false)), {inet_addr("239.1.2.3")}, {0}};
    CHECK(option(fd, IPPROTO_IP, IP_MULTICAST_TTL) == 5, "the time to live of groups is %d", option(fd, IPPROTO_IP, IP_MULTICAST_TTL));
    CHECK(sendto(fd, "to all", 6, 0, (struct sockaddr *)&group, sizeof group) == 6, "nothing goes to the group");
    await(member, POLLIN);
    CHECK(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof join) == 0, "it is no member");
    CHECK(setsockopt(six, IPPROTO_IPV6, IPV6_LEAVE_GROUP, &join6, sizeof join6) == 0, "the IPv6 one is no member");
    return passed();
}
