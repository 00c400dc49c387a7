/* Listening sockets, by path and by abstract name; a connection that was made and one that waits. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

static int listen_at(const struct sockaddr_un *name, socklen_t length) {
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(fd, (const struct sockaddr *)name, length));
    MUST(listen(fd, 8));
    return fd;
}

static int call(const struct sockaddr_un *name, socklen_t length) {
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (const struct sockaddr *)name, length));
    return fd;
}

int main(void) {
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-listener"};
    struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0roam-test"};
    socklen_t long_one = sizeof path, short_one = offsetof(struct sockaddr_un, sun_path) + 10;
    unlink(path.sun_path);
    int one = listen_at(&path, long_one), two = listen_at(&abstract, short_one);
    int caller = call(&path, long_one);
    int taken = MUST(accept(one, NULL, NULL));
    write_all(caller, "hello", 5);
    int waiting = call(&abstract, short_one);
    write_all(waiting, "waiting", 7);
    ready();
    char text[16];
    read_all(taken, text, 5);
    write_all(taken, "x", 1);
    read_all(caller, text, 1);
    int late = MUST(accept(two, NULL, NULL));
    read_all(late, text, 7);
    CHECK(memcmp(text, "waiting", 7) == 0, "what the waiting one said is lost");
    int fresh = call(&path, long_one), other = call(&abstract, short_one);
    int a = MUST(accept(one, NULL, NULL)), b = MUST(accept(two, NULL, NULL));
    write_all(fresh, "1", 1);
    write_all(other, "2", 1);
    read_all(a, text, 1);
    read_all(b, text + 1, 1);
    CHECK(memcmp(text, "12", 2) == 0, "new connections go astray");
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    MUST(getsockname(two, (struct sockaddr *)&name, &length));
    CHECK(length == short_one && memcmp(name.sun_path, "\0roam-test", 10) == 0, "the abstract name changed");
    unlink(path.sun_path);
    return passed();
}
