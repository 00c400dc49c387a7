/* fanotify can't be carried: a session says that it has none, as an older kernel would; elsewhere it works. */
#include "check.h"
#include <sys/fanotify.h>

int main(void) {
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, O_RDONLY);
    CHECK(fd >= 0 || errno == ENOSYS || errno == EPERM, "neither there nor missing");
    if (fd >= 0 && fanotify_mark(fd, FAN_MARK_ADD, FAN_CREATE, AT_FDCWD, in_folder(".")) < 0) {
        CHECK(errno == ENODEV || errno == EXDEV || errno == EOPNOTSUPP, "a mark is refused");
        fd = -1;
    }
    ready();
    if (fd >= 0) {
        close(MUST(open(in_folder("new"), O_WRONLY | O_CREAT, 0600)));
        char events[4096];
        CHECK(read(fd, events, sizeof events) > 0, "a promise is not kept");
    }
    return passed();
}
