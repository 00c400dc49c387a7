/* A netlink socket: its port and groups stay, and the kernel still answers. */
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

static void ask(int fd) {
    struct {
        struct nlmsghdr header;
        struct rtgenmsg message;
    } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
    MUST(send(fd, &request, sizeof request, 0));
    for (bool done = false; !done;) {
        char room[32768] __attribute__((aligned(8)));
        ssize_t length = MUST(recv(fd, room, sizeof room, 0));
        for (struct nlmsghdr *one = (void *)room; NLMSG_OK(one, length); one = NLMSG_NEXT(one, length)) {
            CHECK(one->nlmsg_type != NLMSG_ERROR, "the kernel says no");
            done |= one->nlmsg_type == NLMSG_DONE;
        }
    }
}

int main(void) {
    int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_ROUTE}, now;
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    socklen_t length = sizeof name;
    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    int fresh = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    ask(fd);
    ready();
    MUST(getsockname(fd, (struct sockaddr *)&now, &length));
    CHECK(now.nl_pid == name.nl_pid && now.nl_groups == name.nl_groups, "the port is %u now", now.nl_pid);
    ask(fd);
    MUST(close(fresh));
    return passed();
}
