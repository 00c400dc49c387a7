/* Descriptors that are under way in a socket: sent before, received after. */
#include "check.h"

static void send_fds(int socket, const int *fds, int count, const char *text) {
    char room[CMSG_SPACE(sizeof(int) * 4)] = {0};
    struct iovec data = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
    MUST(sendmsg(socket, &message, 0));
}

static int receive_fds(int socket, int *fds, const char *text) {
    char room[CMSG_SPACE(sizeof(int) * 4)], bytes[64];
    struct iovec data = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    ssize_t length = MUST(recvmsg(socket, &message, MSG_DONTWAIT));
    CHECK((size_t)length == strlen(text) && memcmp(bytes, text, strlen(text)) == 0, "other bytes came");
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS, "no descriptors came");
    size_t size = header->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(header), size);
    return (int)(size / sizeof(int));
}

int main(void) {
    int pair[2], ends[2], inner[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    MUST(pipe(ends));
    write_all(ends[1], "in the pipe", 11);
    int memory = MUST(memfd_create("sent", 0));
    write_all(memory, "in the file", 11);
    int both[2] = {ends[0], memory};
    write_all(pair[0], "plain", 5);
    send_fds(pair[0], both, 2, "two");
    /* A socket that is under way and itself holds a descriptor. */
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, inner));
    send_fds(inner[0], &memory, 1, "deep");
    send_fds(pair[0], &inner[1], 1, "one");
    close(ends[0]);
    close(memory);
    close(inner[1]);
    ready();
    int got[4];
    char text[16];
    read_all(pair[1], text, 5);
    CHECK(receive_fds(pair[1], got, "two") == 2, "not two descriptors");
    read_all(got[0], text, 11);
    CHECK(memcmp(text, "in the pipe", 11) == 0, "the pipe is another");
    CHECK(lseek(got[1], 0, SEEK_CUR) == 11 && pread(got[1], text, 11, 0) == 11 && memcmp(text, "in the file", 11) == 0,
          "the file is another");
    write_all(ends[1], "x", 1);
    read_all(got[0], text, 1);
    int socket, deep;
    CHECK(receive_fds(pair[1], &socket, "one") == 1, "not one descriptor");
    CHECK(receive_fds(socket, &deep, "deep") == 1, "the inner descriptor is lost");
    CHECK(lseek(deep, 0, SEEK_CUR) == 11, "the inner descriptor is another file");
    return passed();
}
