/* Connections in two processes: the server's in a child, a client's shared by parent and child; one in flight. */
#include "inet.h"

static int listener, shared[2];

static int server(void *unused) {
    (void)unused;
    int fd = MUST(accept(listener, NULL, NULL));
    close(listener);
    char text[8];
    write_all(fd, "ready", 5);
    read_all(fd, text, 4);
    write_all(fd, "pong", 4);
    read_all(shared[0], text + 4, 1);
    return memcmp(text, "pingx", 5) == 0 ? 21 : 1;
}

int main(void) {
    listener = listen_on(AF_INET, 4);
    connection(AF_INET6, shared);
    pid_t pid = child(server, NULL);
    int client = call(AF_INET, port_of(listener, false)), sent[2], pair[2];
    close(listener);
    char text[8];
    read_all(client, text, 5);
    connection(AF_INET, sent);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {(char *)"s", 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &sent[1], sizeof(int));
    MUST(sendmsg(pair[0], &message, 0));
    close(sent[1]);
    write_all(sent[0], "flies", 5);
    ready();
    write_all(client, "ping", 4);
    read_all(client, text, 4);
    CHECK(memcmp(text, "pong", 4) == 0, "another answer");
    write_all(shared[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 21, "the server ended with %x", status);
    CHECK(read(client, text, 1) == 0, "the connection does not end with the server");
    write_all(shared[0], "y", 1);
    read_all(shared[1], text, 1);
    char more[CMSG_SPACE(sizeof(int))];
    message = (struct msghdr){.msg_iov = &data, .msg_iovlen = 1, .msg_control = more, .msg_controllen = sizeof more};
    char byte;
    data.iov_base = &byte;
    MUST(recvmsg(pair[1], &message, 0));
    header = CMSG_FIRSTHDR(&message);
    CHECK(header, "nothing came along");
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    read_all(fd, text, 5);
    CHECK(memcmp(text, "flies", 5) == 0, "what was under way twice is lost");
    return passed();
}
