/* Netlink: a socket that hears of addresses and links, with its port number and groups; asking for all links. */
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

static int links(int fd) {
    struct { struct nlmsghdr header; struct ifinfomsg body; } ask = {{sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 9, 0}, {0}};
    CHECK(send(fd, &ask, sizeof ask, 0) == sizeof ask, "it can't be asked");
    static char room[65536];
    for (int count = 0;;) {
        ssize_t got = MUST(recv(fd, room, sizeof room, 0));
        for (struct nlmsghdr *message = (void *)room; NLMSG_OK(message, got); message = NLMSG_NEXT(message, got)) {
            if (message->nlmsg_type == NLMSG_DONE) return count;
            CHECK(message->nlmsg_seq == 9 && message->nlmsg_type == RTM_NEWLINK, "message %d", message->nlmsg_type);
            count++;
        }
    }
}

int main(void) {
    int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)), plain = MUST(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE));
    struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_pid = 123456, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR}, now;
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    int one = 1;
    MUST(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one));
    CHECK(links(plain) > 0, "the test itself");
    ready();
    socklen_t length = sizeof now;
    MUST(getsockname(fd, (struct sockaddr *)&now, &length));
    CHECK(now.nl_pid == 123456 && now.nl_groups == name.nl_groups, "it is %u with groups %x", now.nl_pid, now.nl_groups);
    int value = 0;
    length = sizeof value;
    MUST(getsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &value, &length));
    CHECK(value == 1 && fcntl(fd, F_GETFD) == FD_CLOEXEC, "an option is lost");
    CHECK(links(plain) > 0 && links(fd) > 0, "there is not even the loop");
    return passed();
}
