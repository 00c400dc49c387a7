/* A connection that waits to be accepted and has sent a descriptor: that could not be put back for certain, so it is
 * refused, and all of it is there afterwards. */
#include "check.h"
#include <sys/un.h>

int main(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-descriptor"};
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), ends[2];
    unlink(name.sun_path);
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(listen(listener, 10));
    MUST(connect(client, (struct sockaddr *)&name, sizeof name));
    MUST(pipe(ends));
    write_all(ends[1], "piped", 5);
    char room[CMSG_SPACE(sizeof(int))] = {0}, text[8] = "fd";
    struct iovec data = {text, 2};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
    MUST(sendmsg(client, &message, 0));
    close(ends[0]);
    expect_refusal("a connection that is not accepted yet has data, and descriptors are in flight to it");
    ready();
    int server = MUST(accept(listener, NULL, NULL)), fd;
    CHECK(recvmsg(server, &message, 0) == 2, "what came with the descriptor");
    header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS, "no descriptor");
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    read_all(fd, text, 5);
    CHECK(memcmp(text, "piped", 5) == 0, "another pipe");
    unlink(name.sun_path);
    return passed();
}
