/* A socket bound by a path that is relative to a folder: its name is that, and it is reached from there. */
#include "check.h"
#include <sys/un.h>

int main(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "roam-test-relative"}, again;
    MUST(mkdir("/tmp/roam-test-folder-of-socket", 0700));
    MUST(chdir("/tmp/roam-test-folder-of-socket"));
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), one = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(listen(listener, 3));
    MUST(connect(one, (struct sockaddr *)&name, sizeof name));
    int server = MUST(accept(listener, NULL, NULL));
    MUST(chdir("/"));
    expect_refusal("its name roam-test-relative is a relative path");
    ready();
    char byte;
    write_all(one, "x", 1);
    read_all(server, &byte, 1);
    socklen_t length = sizeof again;
    MUST(getsockname(listener, (struct sockaddr *)&again, &length));
    CHECK(strcmp(again.sun_path, "roam-test-relative") == 0, "it is called %s", again.sun_path);
    MUST(getpeername(one, (struct sockaddr *)&again, &length));
    CHECK(strcmp(again.sun_path, "roam-test-relative") == 0, "the other side is called %s", again.sun_path);
    MUST(chdir("/tmp/roam-test-folder-of-socket"));
    int two = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(two, (struct sockaddr *)&name, sizeof name));
    MUST(accept(listener, NULL, NULL));
    return passed();
}
