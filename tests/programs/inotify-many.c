/* Three hundred watches, some removed, on folders renamed since, on an unlinked file that is open, on a folder
 * of the session with all sorts of things in it; and nothing is told that the program did not do. */
#include "check.h"
#include <sys/inotify.h>

enum { COUNT = 300 };
static char room[65536] __attribute__((aligned(8)));

static struct inotify_event *next(int fd) {
    ssize_t length = read(fd, room, 16);
    if (length < 0 && errno == EINVAL) length = read(fd, room, 32); /* It has a short name. */
    return length > 0 ? (struct inotify_event *)room : NULL;
}

int main(void) {
    char path[4096], to[4096];
    int fd = MUST(inotify_init1(IN_NONBLOCK)), watches[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof path, "%s/folder-%d", i % 2 ? "/tmp" : in_folder("."), i);
        MUST(mkdir(path, 0700));
        watches[i] = MUST(inotify_add_watch(fd, path, IN_CREATE | IN_ONLYDIR));
    }
    for (int i = 0; i < COUNT; i += 9) MUST(inotify_rm_watch(fd, watches[i]));
    for (int i = 4; i < 6; i++) {
        snprintf(path, sizeof path, "%s/folder-%d", i % 2 ? "/tmp" : in_folder("."), i);
        snprintf(to, sizeof to, "%s/renamed-%d", i % 2 ? "/tmp" : in_folder("."), i);
        MUST(rename(path, to));
    }
    int unlinked = MUST(open(in_folder("gone"), O_RDWR | O_CREAT, 0600));
    int of_unlinked = MUST(inotify_add_watch(fd, in_folder("gone"), IN_MODIFY));
    MUST(unlink(in_folder("gone")));
    MUST(mkdir("/tmp/roam-test-rich", 0700));
    MUST(symlink("x", "/tmp/roam-test-rich/link"));
    close(MUST(open("/tmp/roam-test-rich/file", O_WRONLY | O_CREAT, 0600)));
    MUST(link("/tmp/roam-test-rich/file", "/tmp/roam-test-rich/hard link"));
    MUST(mkfifo("/tmp/roam-test-rich/fifo", 0600));
    int all = MUST(inotify_init1(IN_NONBLOCK));
    MUST(inotify_add_watch(all, "/tmp/roam-test-rich", IN_ALL_EVENTS & ~(uint32_t)(IN_ACCESS | IN_OPEN | IN_CLOSE)));
    MUST(inotify_add_watch(all, "/tmp", IN_CREATE | IN_DELETE | IN_MOVE));
    int once = MUST(inotify_init1(IN_NONBLOCK));
    MUST(inotify_add_watch(once, "/tmp/roam-test-rich", IN_CREATE | IN_ONESHOT));
    while (next(fd)) {
    }
    ready();
    CHECK(!next(fd) && !next(once), "an event out of nothing: %x", ((struct inotify_event *)room)->mask);
    struct inotify_event *event = next(all);
    CHECK(!event, "somebody did %x with %s", event->mask, event->len ? event->name : "the folder");
    for (int i = 0; i < COUNT; i++) {
        const char *name = i == 4 || i == 5 ? "renamed" : "folder";
        snprintf(path, sizeof path, "%s/%s-%d/new", i % 2 ? "/tmp" : in_folder("."), name, i);
        close(MUST(open(path, O_WRONLY | O_CREAT, 0600)));
        event = next(fd);
        CHECK(i % 9 == 0 ? !event : event && event->wd == watches[i] && event->mask == IN_CREATE, "watch %d of %s-%d", watches[i], name, i);
    }
    write_all(unlinked, "x", 1);
    event = next(fd);
    CHECK(event && event->wd == of_unlinked && event->mask == IN_MODIFY, "the unlinked file is not watched");
    close(MUST(open("/tmp/roam-test-rich/first", O_WRONLY | O_CREAT, 0600)));
    close(MUST(open("/tmp/roam-test-rich/second", O_WRONLY | O_CREAT, 0600)));
    event = next(once);
    CHECK(event && event->mask == IN_CREATE && strcmp(event->name, "first") == 0, "the one-shot is lost");
    event = next(once);
    CHECK(event && event->mask == IN_IGNORED && !next(once), "the one-shot comes twice");
    return passed();
}
