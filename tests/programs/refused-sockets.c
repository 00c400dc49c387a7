/* Sockets that a session can't have (raw, packet) are refused at once; one that can't be carried (netlink between
 * programs) lets the move be refused, and goes on working. */
#include "check.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <netinet/in.h>

int main(void) {
    CHECK(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0 && errno == EPERM, "there is a raw socket");
    CHECK(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) < 0, "there is a packet socket");
    int pair[2];
    struct sockaddr_nl names[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK));
        names[i] = (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_pid = 4000000u + (unsigned)i};
        MUST(bind(pair[i], (struct sockaddr *)&names[i], sizeof *names));
    }
    struct { struct nlmsghdr header; char text[8]; } message = {{sizeof message, 100, 0, 7, 0}, "to you"}, got;
    expect_refusal("netlink sockets of protocol 2 can't be carried");
    ready();
    CHECK(sendto(pair[0], &message, sizeof message, 0, (struct sockaddr *)&names[1], sizeof *names) == sizeof message, "it sends nothing");
    CHECK(recv(pair[1], &got, sizeof got, MSG_DONTWAIT) == sizeof got && strcmp(got.text, "to you") == 0, "nothing came");
    return passed();
}
