/* Processes that wait in connect (the queue is full), accept and send; each goes on where it was. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

static struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-full"},
                          other = {.sun_family = AF_UNIX, .sun_path = "\0roam-test-calm"};
enum { SHORT = offsetof(struct sockaddr_un, sun_path) + 15, LENGTH = 900000 };
static int calm, pair[2], steps[2];
static char block[LENGTH], back[LENGTH];

static int in_connect(void *unused) {
    (void)unused;
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    write_all(steps[1], "c", 1);
    MUST(connect(fd, (struct sockaddr *)&name, SHORT));
    write_all(fd, "late", 4);
    char byte;
    read_all(fd, &byte, 1);
    return byte;
}

static int in_accept(void *unused) {
    (void)unused;
    write_all(steps[1], "a", 1);
    int fd = MUST(accept4(calm, NULL, NULL, SOCK_CLOEXEC));
    write_all(fd, "hello", 5);
    return 12;
}

static int in_send(void *unused) {
    (void)unused;
    write_all(steps[1], "s", 1);
    size_t done = 0;
    while (done < LENGTH) {
        ssize_t put = send(pair[1], block + done, LENGTH - done, 0);
        CHECK(put > 0 || errno == EINTR, "sending fails");
        done += put > 0 ? (size_t)put : 0;
    }
    return 13;
}

int main(void) {
    fill(block, LENGTH - LENGTH % 8, 5);
    MUST(pipe(steps));
    int full = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), clients[2];
    calm = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(full, (struct sockaddr *)&name, SHORT));
    MUST(bind(calm, (struct sockaddr *)&other, SHORT));
    MUST(listen(full, 1));
    MUST(listen(calm, 1));
    for (int i = 0; i < 2; i++) {
        clients[i] = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
        MUST(connect(clients[i], (struct sockaddr *)&name, SHORT));
    }
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t connects = child(in_connect, NULL), accepts = child(in_accept, NULL), sends = child(in_send, NULL);
    char text[8];
    read_all(steps[0], text, 3);
    ready();
    int status, callers[3];
    for (int i = 0; i < 3; i++) callers[i] = MUST(accept(full, NULL, NULL));
    read_all(callers[2], text, 4);
    CHECK(memcmp(text, "late", 4) == 0, "another one came last");
    write_all(callers[2], "\13", 1);
    MUST(waitpid(connects, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 11, "connect ended with %x", status);
    write_all(clients[1], "x", 1);
    read_all(callers[1], text, 1);
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&other, SHORT));
    read_all(fd, text, 5);
    MUST(waitpid(accepts, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 12, "accept ended with %x", status);
    read_all(pair[0], back, LENGTH);
    CHECK(memcmp(block, back, LENGTH) == 0, "other bytes were sent");
    MUST(waitpid(sends, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 13, "send ended with %x", status);
    return passed();
}
