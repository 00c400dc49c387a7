/* UDP options: addresses of datagrams (IP_PKTINFO), groups joined on the loop, broadcast, buffers, time to live. */
#include "inet.h"

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
    ready();
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
