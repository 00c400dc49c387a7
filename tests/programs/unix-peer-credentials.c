/* SO_PEERCRED names who made the connection, also after that process has ended; SO_PEERPIDFD where known. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

static struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-who"};
enum { SHORT = offsetof(struct sockaddr_un, sun_path) + 14 };
static int handed[2];

static int connects(void *keep) {
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&name, SHORT));
    write_all(fd, "hello", 5);
    if (keep) {
        while (pause() < 0) {
        }
    }
    return 0;
}

static pid_t peer(int fd) {
    struct ucred who;
    socklen_t length = sizeof who;
    MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length));
    CHECK(who.uid == getuid() && who.gid == getgid(), "user %u, group %u", who.uid, who.gid);
    return who.pid;
}

int main(void) {
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(listener, (struct sockaddr *)&name, SHORT));
    MUST(listen(listener, 4));
    pid_t living = child(connects, "stays");
    int of_living = MUST(accept(listener, NULL, NULL));
    pid_t dead = child(connects, NULL);
    int of_dead = MUST(accept(listener, NULL, NULL));
    MUST(waitpid(dead, NULL, 0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, handed));
    CHECK(peer(of_living) == living && peer(of_dead) == dead && peer(handed[0]) == getpid(), "the test itself");
    ready();
    CHECK(peer(of_living) == living, "it was %d, not %d", living, peer(of_living));
    CHECK(peer(handed[0]) == getpid(), "the pair was made by %d", peer(handed[0]));
    /* Who has ended has no number any more that means anything; but never one of somebody else. */
    pid_t now = peer(of_dead);
    CHECK(now == dead || now == 0 || kill(now, 0) < 0, "the dead one's connection is of %d", now);
    char text[8];
    read_all(of_dead, text, 5);
    CHECK(read(of_dead, text, 1) == 0, "it does not end");
    read_all(of_living, text, 5);
    end_child(living);
    CHECK(read(of_living, text, 1) == 0, "it does not end with its process");
    return passed();
}
