/* A connection that waits to be accepted, has sent something, and is disarmed in an epoll (EPOLLONESHOT): another
 * socket in its place would tell of hang-ups again, so it is refused, and the entry is as it was. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/un.h>

int main(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-told"};
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    unlink(name.sun_path);
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(listen(listener, 10));
    MUST(connect(client, (struct sockaddr *)&name, sizeof name));
    int epoll = MUST(epoll_create1(0));
    struct epoll_event event = {EPOLLOUT | EPOLLONESHOT, {.u64 = 5}};
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event));
    CHECK(epoll_wait(epoll, &event, 1, 0) == 1, "the test itself");
    write_all(client, "early", 5);
    expect_refusal("a thread deals with what an epoll told it of that socket");
    ready();
    char text[8];
    int server = MUST(accept(listener, NULL, NULL));
    read_all(server, text, 5);
    close(server);
    CHECK(epoll_wait(epoll, &event, 1, 0) == 0, "a hang-up is told to a second thread");
    unlink(name.sun_path);
    return passed();
}
