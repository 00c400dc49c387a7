/* POSIX message queues: what is queued, by priority and in order; limits, flags, permissions, the name; one that
 * nobody has open, one whose name is gone, one whose name another has taken. */
#include "check.h"
#include <mqueue.h>

static void put(mqd_t queue, const char *text, unsigned priority) { MUST(mq_send(queue, text, strlen(text), priority)); }

static void take(mqd_t queue, const char *text, unsigned wanted) {
    char room[256];
    unsigned priority;
    ssize_t got = MUST(mq_receive(queue, room, sizeof room, &priority));
    CHECK((size_t)got == strlen(text) && memcmp(room, text, (size_t)got) == 0 && priority == wanted,
          "%.*s of priority %u instead of %s of %u", (int)got, room, priority, text, wanted);
}

int main(void) {
    struct mq_attr small = {.mq_maxmsg = 7, .mq_msgsize = 200}, now;
    mq_unlink("/roam-open"), mq_unlink("/roam-closed"), mq_unlink("/roam-gone");
    mqd_t open_one = MUST(mq_open("/roam-open", O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640, &small));
    mqd_t closed = MUST(mq_open("/roam-closed", O_RDWR | O_CREAT | O_EXCL, 0600, &small));
    mqd_t gone = MUST(mq_open("/roam-gone", O_RDWR | O_CREAT | O_EXCL, 0600, &small));
    MUST(mq_unlink("/roam-gone"));
    mqd_t second = MUST(mq_open("/roam-gone", O_RDONLY | O_CREAT | O_EXCL, 0600, &small));
    mqd_t write_only = MUST(mq_open("/roam-open", O_WRONLY));
    put(open_one, "low one", 1);
    put(open_one, "high one", 9);
    put(open_one, "low two", 1);
    put(open_one, "", 32767);
    put(open_one, "high two", 9);
    put(closed, "kept", 3);
    put(gone, "without a name", 4);
    MUST(mq_close(closed));
    ready();
    MUST(mq_getattr(open_one, &now));
    CHECK(now.mq_maxmsg == 7 && now.mq_msgsize == 200 && now.mq_curmsgs == 5 && now.mq_flags == O_NONBLOCK,
          "%ld messages of %ld, of at most %ld bytes, flags %lx", now.mq_curmsgs, now.mq_maxmsg, now.mq_msgsize, now.mq_flags);
    MUST(mq_getattr(gone, &now));
    CHECK(now.mq_flags == 0 && now.mq_curmsgs == 1, "the one without a name: %ld messages", now.mq_curmsgs);
    MUST(mq_getattr(second, &now));
    CHECK(now.mq_curmsgs == 0, "the one that took the name has %ld messages", now.mq_curmsgs);
    struct stat data;
    MUST(fstat(open_one, &data));
    CHECK((data.st_mode & 0777) == 0640 && data.st_uid == getuid(), "the mode is %o", data.st_mode);
    put(write_only, "low three", 1);
    take(open_one, "", 32767);
    take(open_one, "high one", 9);
    take(open_one, "high two", 9);
    take(open_one, "low one", 1);
    take(open_one, "low two", 1);
    take(open_one, "low three", 1);
    char room[256];
    CHECK(mq_receive(open_one, room, sizeof room, NULL) < 0 && errno == EAGAIN, "a message too many, or it waits");
    CHECK(mq_receive(write_only, room, sizeof room, NULL) < 0 && errno == EBADF, "what was for writing can be read");
    CHECK(mq_send(second, "x", 1, 0) < 0 && errno == EBADF, "what was for reading can be written");
    for (int i = 0; i < 7; i++) put(open_one, "fill", 0);
    CHECK(mq_send(open_one, "x", 1, 0) < 0 && errno == EAGAIN, "it takes more than it did");
    take(gone, "without a name", 4);
    closed = MUST(mq_open("/roam-closed", O_RDONLY));
    take(closed, "kept", 3);
    mqd_t again = MUST(mq_open("/roam-gone", O_WRONLY));
    put(again, "by name", 2);
    take(second, "by name", 2);
    CHECK(mq_open("/roam-0", O_RDONLY) < 0 && errno == ENOENT, "a name that nobody gave");
    MUST(mq_unlink("/roam-open"));
    MUST(mq_unlink("/roam-closed"));
    MUST(mq_unlink("/roam-gone"));
    return passed();
}
