/* Watches on folders, files and a symbolic link itself, with events that wait and events to come. */
#include "check.h"
#include <sys/inotify.h>

static int expect(int fd, int watch, uint32_t mask, const char *name) {
    char room[4096] __attribute__((aligned(8)));
    ssize_t length = read(fd, room, sizeof(struct inotify_event) + 256);
    CHECK(length > 0, "no event for %s", name);
    struct inotify_event *event = (struct inotify_event *)room;
    CHECK(event->wd == watch && event->mask & mask, "event %x of watch %d", event->mask, event->wd);
    CHECK(event->len == 0 || strcmp(event->name, name) == 0, "an event for %s", event->name);
    return 0;
}

int main(void) {
    char *folder = in_folder("watched"), *path = in_folder("watched/new"), *file = in_folder("single"), *link = in_folder("link");
    MUST(mkdir(folder, 0700));
    close(MUST(open(file, O_CREAT | O_WRONLY, 0600)));
    int fd = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    int dropped = MUST(inotify_add_watch(fd, "/tmp", IN_CREATE));
    int one = MUST(inotify_add_watch(fd, folder, IN_CREATE | IN_DELETE));
    int two = MUST(inotify_add_watch(fd, file, IN_MODIFY));
    MUST(symlink(file, link));
    int three = MUST(inotify_add_watch(fd, link, IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW));
    MUST(inotify_rm_watch(fd, dropped));
    expect(fd, dropped, IN_IGNORED, "");
    ready();
    char room[4096];
    CHECK(read(fd, room, sizeof room) < 0 && errno == EAGAIN, "an event of nothing");
    close(MUST(open(path, O_CREAT | O_WRONLY, 0600)));
    expect(fd, one, IN_CREATE, "new");
    int writer = MUST(open(file, O_WRONLY));
    write_all(writer, "x", 1);
    expect(fd, two, IN_MODIFY, "");
    MUST(unlink(path));
    expect(fd, one, IN_DELETE, "new");
    struct timespec times[2] = {{1, 0}, {1, 0}};
    MUST(utimensat(AT_FDCWD, file, times, 0));
    CHECK(read(fd, room, sizeof room) < 0 && errno == EAGAIN, "the link's watch tells of the file");
    MUST(utimensat(AT_FDCWD, link, times, AT_SYMLINK_NOFOLLOW));
    expect(fd, three, IN_ATTRIB, "");
    return passed();
}
