/* Netlink between programs: two sockets that know each other by number. */
#include "check.h"
#include <linux/netlink.h>

static struct message { struct nlmsghdr header; char text[8]; } got;

static void send_to(int fd, uint32_t pid, const char *text) {
    struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_pid = pid};
    struct message message = {{sizeof message, 100, 0, 7, 0}, ""};
    strcpy(message.text, text);
    CHECK(sendto(fd, &message, sizeof message, 0, (struct sockaddr *)&to, sizeof to) == sizeof message, "it sends nothing");
}

int main(void) {
    int pair[2];
    struct sockaddr_nl names[2];
    for (int i = 0; i < 2; i++) {
        pair[i] = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK));
        names[i] = (struct sockaddr_nl){.nl_family = AF_NETLINK, .nl_pid = 4000000u + (unsigned)i};
        MUST(bind(pair[i], (struct sockaddr *)&names[i], sizeof *names));
    }
    ready();
    for (int i = 0; i < 2; i++) {
        struct sockaddr_nl name, from;
        socklen_t length = sizeof name;
        MUST(getsockname(pair[i], (struct sockaddr *)&name, &length));
        CHECK(name.nl_pid == names[i].nl_pid, "socket %d has another name", i);
        send_to(pair[i], names[!i].nl_pid, i ? "one" : "two");
        length = sizeof from;
        CHECK(recvfrom(pair[!i], &got, sizeof got, MSG_DONTWAIT, (struct sockaddr *)&from, &length) == sizeof got, "nothing came");
        CHECK(from.nl_pid == names[i].nl_pid && strcmp(got.text, i ? "one" : "two") == 0, "%s came", got.text);
    }
    return passed();
}
