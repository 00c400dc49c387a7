/* A netlink socket with an answer of the kernel that has not been read: it is refused to carry that, since the kernel
 * can't be made to say it again, and nothing of it is lost. */
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

int main(void) {
    int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    struct {
        struct nlmsghdr header;
        struct ifinfomsg message;
    } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST, 77, 0}, {.ifi_family = AF_UNSPEC, .ifi_index = 1}};
    MUST(send(fd, &request, sizeof request, 0));
    char room[16384] __attribute__((aligned(8)));
    ssize_t length = MUST(recv(fd, room, sizeof room, MSG_PEEK));
    CHECK(length > 0, "the test itself");
    expect_refusal_of(fd, "it has not read yet what the kernel told it");
    ready();
    length = MUST(recv(fd, room, sizeof room, MSG_DONTWAIT));
    struct nlmsghdr *answer = (void *)room;
    CHECK(NLMSG_OK(answer, length) && answer->nlmsg_seq == 77 && answer->nlmsg_type == RTM_NEWLINK, "the answer is lost");
    return passed();
}
