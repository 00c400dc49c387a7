/* A watch on a folder that lies far below all that the program has open. */
#include "check.h"
#include <sys/inotify.h>

enum { DEPTH = 12 };

int main(void) {
    char path[4096], file[4096 + 8];
    snprintf(path, sizeof path, "%s", in_folder("deep"));
    MUST(mkdir(path, 0700));
    for (int i = 0; i < DEPTH; i++) {
        strcat(path, "/below");
        MUST(mkdir(path, 0700));
    }
    int fd = MUST(inotify_init1(IN_CLOEXEC));
    int watch = MUST(inotify_add_watch(fd, path, IN_CREATE));
    ready();
    snprintf(file, sizeof file, "%s/new", path);
    close(MUST(open(file, O_CREAT | O_WRONLY, 0600)));
    char room[4096] __attribute__((aligned(8)));
    MUST(read(fd, room, sizeof room));
    struct inotify_event *event = (struct inotify_event *)room;
    CHECK(event->wd == watch && event->mask & IN_CREATE && strcmp(event->name, "new") == 0, "event %x", event->mask);
    return passed();
}
