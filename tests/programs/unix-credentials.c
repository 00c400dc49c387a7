/* Who is on the other side of a unix socket, and who sent what is queued; connections half closed or left. */
#include "check.h"
#include <sys/un.h>

static int go[2], up[2];
static struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-credentials"};

static pid_t peer(int fd) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length));
    CHECK(credentials.uid == getuid(), "it belongs to user %u", credentials.uid);
    return credentials.pid;
}

static int caller(void *unused) {
    (void)unused;
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&name, sizeof name));
    write_all(fd, "signed", 6);
    write_all(up[1], "x", 1);
    char byte;
    read_all(go[0], &byte, 1);
    CHECK(peer(fd) == getppid(), "the listener is %d now", peer(fd));
    write_all(up[1], "x", 1);
    return 0;
}

static pid_t sender(int fd) {
    char text[6], control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(fd, &message, 0) == 6 && memcmp(text, "signed", 6) == 0, "the message is lost");
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    CHECK(first && first->cmsg_type == SCM_CREDENTIALS, "it is not signed");
    struct ucred credentials;
    memcpy(&credentials, CMSG_DATA(first), sizeof credentials);
    return credentials.pid;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(up));
    unlink(name.sun_path);
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), on = 1, pair[2], left[2];
    MUST(setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(listen(listener, 4));
    pid_t pid = child(caller, NULL);
    char byte;
    read_all(up[0], &byte, 1);
    int server = MUST(accept(listener, NULL, NULL));
    MUST(setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
    MUST(shutdown(pair[0], SHUT_WR));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, left));
    write_all(left[0], "bye", 3);
    MUST(close(left[0]));
    ready();
    CHECK(peer(server) == pid, "the caller is %d now, not %d", peer(server), pid);
    CHECK(peer(pair[0]) == getpid() && peer(left[1]) == getpid(), "the pairs were made by another");
    pid_t from = sender(server);
    CHECK(from == pid, "the message came from %d, not %d", from, pid);
    char text[8];
    CHECK(read(pair[1], text, sizeof text) == 0, "a closed direction is open again");
    write_all(pair[1], "open", 4);
    CHECK(read(pair[0], text, sizeof text) == 4, "an open direction is closed");
    CHECK(read(left[1], text, sizeof text) == 3 && memcmp(text, "bye", 3) == 0, "the last words are lost");
    CHECK(read(left[1], text, sizeof text) == 0, "who left is back");
    write_all(go[1], "x", 1);
    read_all(up[0], &byte, 1);
    unlink(name.sun_path);
    return passed();
}
