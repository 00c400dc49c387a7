/* Events that are not read yet: the program is told of each, or that some were lost and it has to look again;
 * then the new ones come. */
#include "check.h"
#include <sys/inotify.h>

static char room[65536] __attribute__((aligned(8)));

/* Whether an event with this name comes before anything else, or the word that some were lost. */
static bool next_is(int fd, const char *name, bool *lost) {
    ssize_t length = read(fd, room, 16);
    if (length < 0 && errno == EINVAL) length = read(fd, room, 32); /* It has a short name. */
    CHECK(length > 0, "neither %s nor a word of it", name);
    struct inotify_event *event = (struct inotify_event *)room;
    if (event->mask & IN_Q_OVERFLOW) {
        CHECK(event->wd == -1, "it is lost for watch %d", event->wd);
        *lost = true;
        return false;
    }
    CHECK(event->len > 0 && strcmp(event->name, name) == 0, "an event for %s, mask %x", event->len ? event->name : "nobody", event->mask);
    return true;
}

int main(void) {
    const char *folders[] = {in_folder("watched"), "/tmp/roam-test-watched"};
    char path[4096];
    int fds[2], watches[2];
    for (int i = 0; i < 2; i++) {
        MUST(mkdir(folders[i], 0700));
        fds[i] = MUST(inotify_init1(IN_NONBLOCK));
        watches[i] = MUST(inotify_add_watch(fds[i], folders[i], IN_CREATE));
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%d", folders[i], k);
            close(MUST(open(path, O_WRONLY | O_CREAT, 0600)));
        }
    }
    ready();
    for (int i = 0; i < 2; i++) {
        bool lost = false;
        if (next_is(fds[i], "0", &lost)) CHECK(next_is(fds[i], "1", &lost), "the second event is lost");
        if (lost) {
            snprintf(path, sizeof path, "%s/1", folders[i]);
            CHECK(access(path, F_OK) == 0, "looking again shows nothing");
        }
        CHECK(read(fds[i], room, sizeof room) < 0 && errno == EAGAIN, "more events than were");
        snprintf(path, sizeof path, "%s/new", folders[i]);
        close(MUST(open(path, O_WRONLY | O_CREAT, 0600)));
        CHECK(next_is(fds[i], "new", &lost), "the new event is lost");
        CHECK(((struct inotify_event *)room)->wd == watches[i], "it is of another watch");
    }
    return passed();
}
