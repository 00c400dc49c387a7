/* Sockets that a session can't have (raw, packet) are refused at once; one that can't be carried (netlink of the packet
 * filter) lets the move be refused, and goes on working. */
#include "check.h"
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <netinet/in.h>

int main(void) {
    CHECK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 && errno == EPERM, "there is a raw socket");
    CHECK(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) < 0, "there is a packet socket");
    int fd = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_pid = 4000000u};
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    expect_refusal_of(fd, "netlink sockets of protocol 12 can't be carried");
    ready();
    socklen_t length = sizeof name;
    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    CHECK(name.nl_pid == 4000000u, "it has another name");
    return passed();
}
