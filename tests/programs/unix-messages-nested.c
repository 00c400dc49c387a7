/* Sockets sent in sockets sent in sockets, five deep, with a pipe inside; and two that hold each other. */
#include "check.h"

static void send_fd(int socket, int fd, const char *text) {
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    MUST(sendmsg(socket, &message, 0));
}

static int receive_fd(int socket, const char *text) {
    char room[CMSG_SPACE(sizeof(int))], bytes[64];
    struct iovec data = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t length = MUST(recvmsg(socket, &message, MSG_DONTWAIT));
    CHECK((size_t)length == strlen(text) && memcmp(bytes, text, strlen(text)) == 0, "other bytes than %s", text);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)), "no descriptor with %s", text);
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

int main(void) {
    enum { DEEP = 4 };
    int ends[2], outer[2], pair[2], carried, kind[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    MUST(pipe(ends));
    write_all(ends[1], "deep inside", 11);
    carried = ends[0];
    for (int i = 0; i < DEEP; i++) {
        MUST(socketpair(AF_UNIX, kind[i % 3], 0, pair));
        send_fd(pair[0], carried, "one deeper");
        close(carried);
        close(pair[0]);
        carried = pair[1];
    }
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, outer));
    send_fd(outer[0], carried, "outermost");
    close(carried);
    /* A cycle: each end is in flight inside the other, and only one descriptor is left outside. */
    int cycle[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, cycle));
    send_fd(cycle[0], cycle[0], "myself");
    send_fd(cycle[1], cycle[1], "other");
    int left = cycle[0];
    close(cycle[1]);
    ready();
    int fd = receive_fd(outer[1], "outermost");
    for (int i = 0; i < DEEP; i++) fd = receive_fd(fd, "one deeper");
    char text[16];
    read_all(fd, text, 11);
    CHECK(memcmp(text, "deep inside", 11) == 0, "the pipe is another");
    write_all(ends[1], "x", 1);
    read_all(fd, text, 1);
    int other = receive_fd(left, "other");
    int back = receive_fd(other, "myself");
    struct stat one, two;
    MUST(fstat(left, &one));
    MUST(fstat(back, &two));
    CHECK(one.st_ino == two.st_ino, "the circle is none");
    write_all(back, "round", 5);
    CHECK(read(other, text, 16) == 5, "the two ends came apart");
    return passed();
}
