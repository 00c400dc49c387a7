/* Names of sockets: a path deleted, one renamed, one replaced, one chosen by the kernel, a relative one. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

static int named(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    unlink(path);
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    MUST(listen(fd, 4));
    return fd;
}

static int call(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, path);
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    if (connect(fd, (struct sockaddr *)&name, sizeof name) == 0) return fd;
    close(fd);
    return -1;
}

static void is_named(int fd, const char *path) {
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    CHECK(strcmp(name.sun_path, path) == 0, "it is called %s, not %s", name.sun_path, path);
}

static bool reaches(const char *path, int listener) {
    int fd = call(path);
    if (fd < 0) return false;
    MUST(fcntl(listener, F_SETFL, O_NONBLOCK));
    int server = accept(listener, NULL, NULL);
    close(fd);
    return server >= 0;
}

int main(void) {
    int gone = named("/tmp/roam-test-gone"), moved = named("/tmp/roam-test-from"), old = named("/tmp/roam-test-twice");
    unlink("/tmp/roam-test-gone");
    MUST(rename("/tmp/roam-test-from", "/tmp/roam-test-to"));
    int new = named("/tmp/roam-test-twice");
    MUST(chmod("/tmp/roam-test-twice", 0600));
    int automatic = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un chosen = {.sun_family = AF_UNIX}, again;
    MUST(bind(automatic, (struct sockaddr *)&chosen, sizeof(sa_family_t)));
    socklen_t length = sizeof chosen;
    MUST(getsockname(automatic, (struct sockaddr *)&chosen, &length));
    MUST(listen(automatic, 2));
    /* A connection made by a name that is gone by now. */
    int before = MUST(call("/tmp/roam-test-twice")), server = MUST(accept(new, NULL, NULL));
    ready();
    is_named(gone, "/tmp/roam-test-gone");
    is_named(moved, "/tmp/roam-test-from");
    is_named(old, "/tmp/roam-test-twice");
    is_named(server, "/tmp/roam-test-twice");
    CHECK(access("/tmp/roam-test-gone", F_OK) < 0, "a deleted name is back");
    CHECK(access("/tmp/roam-test-from", F_OK) < 0, "the name before is back");
    CHECK(call("/tmp/roam-test-gone") < 0, "it can be reached by its deleted name");
    CHECK(reaches("/tmp/roam-test-to", moved), "the renamed one can't be reached");
    CHECK(reaches("/tmp/roam-test-twice", new), "the new one can't be reached by its name");
    MUST(fcntl(old, F_SETFL, O_NONBLOCK));
    CHECK(accept(old, NULL, NULL) < 0 && errno == EAGAIN, "the old one is reached");
    struct stat stat;
    MUST(lstat("/tmp/roam-test-twice", &stat));
    CHECK(S_ISSOCK(stat.st_mode) && (stat.st_mode & 0777) == 0600, "its mode is %o", stat.st_mode);
    length = sizeof again;
    MUST(getsockname(automatic, (struct sockaddr *)&again, &length));
    CHECK(length == 8 && memcmp(&again, &chosen, length) == 0, "the kernel's name is another");
    int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(client, (struct sockaddr *)&again, length));
    write_all(before, "x", 1);
    char byte;
    read_all(server, &byte, 1);
    unlink("/tmp/roam-test-to");
    unlink("/tmp/roam-test-twice");
    return passed();
}
