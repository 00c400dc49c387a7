/* Connections that wait to be accepted, with data and descriptors already sent, one of them closed already.
 * Nobody can see that without accepting them, so it is refused; all of it is there afterwards. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

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

static void run(const struct sockaddr_un *name, socklen_t length, int kind, int *clients, int *listener) {
    *listener = MUST(socket(AF_UNIX, kind, 0));
    unlink(name->sun_path);
    MUST(bind(*listener, (const struct sockaddr *)name, length));
    MUST(listen(*listener, 10));
    for (int i = 0; i < 5; i++) {
        clients[i] = MUST(socket(AF_UNIX, kind, 0));
        MUST(connect(clients[i], (const struct sockaddr *)name, length));
        char text[16];
        snprintf(text, sizeof text, "client %d", i);
        if (i != 1) write_all(clients[i], text, 8);
    }
    int ends[2];
    MUST(pipe(ends));
    write_all(ends[1], "piped", 5);
    send_fd(clients[2], ends[0], "fd");
    close(ends[0]);
    close(ends[1]);
    MUST(shutdown(clients[3], SHUT_WR));
    close(clients[4]);
}

static void look(int kind, int *clients, int listener) {
    char text[32];
    for (int i = 0; i < 5; i++) {
        int server = MUST(accept(listener, NULL, NULL));
        if (i != 1) {
            read_all(server, text, 8);
            CHECK(text[7] == '0' + i, "client %c came as number %d", text[7], i);
        }
        if (i == 2) {
            char room[CMSG_SPACE(sizeof(int))];
            struct iovec data = {text, sizeof text};
            struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
            CHECK(recvmsg(server, &message, 0) == 2, "what came with the descriptor");
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            CHECK(header && header->cmsg_type == SCM_RIGHTS, "no descriptor");
            int fd;
            memcpy(&fd, CMSG_DATA(header), sizeof fd);
            read_all(fd, text, 5);
            CHECK(memcmp(text, "piped", 5) == 0, "another pipe");
        }
        if (i < 4) {
            write_all(server, "hi", 2);
            read_all(clients[i], text, 2);
        }
        if (i < 3) {
            write_all(clients[i], "more", 4);
            read_all(server, text, 4);
            CHECK(memcmp(text, "more", 4) == 0, "other bytes");
        } else {
            CHECK(read(server, text, 1) == 0, "client %d goes on", i);
        }
        close(server);
    }
    MUST(fcntl(listener, F_SETFL, O_NONBLOCK));
    CHECK(accept(listener, NULL, NULL) < 0 && errno == EAGAIN, "more connections than were (kind %d)", kind);
}

int main(void) {
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-waiting"};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-waiting"};
    socklen_t short_one = offsetof(struct sockaddr_un, sun_path) + 18;
    int clients[2][5], listeners[2];
    run(&path, sizeof path, SOCK_STREAM, clients[0], &listeners[0]);
    run(&abstract, short_one, SOCK_SEQPACKET, clients[1], &listeners[1]);
    expect_refusal("its connection has data and is not accepted yet");
    ready();
    look(SOCK_STREAM, clients[0], listeners[0]);
    look(SOCK_SEQPACKET, clients[1], listeners[1]);
    unlink(path.sun_path);
    return passed();
}
