/* Watches on files of the system, far below its folders: on some file systems (overlayfs, btrfs) stat(2) tells another
 * device of them than the kernel's lists. */
#include "check.h"
#include <sys/inotify.h>

static const char *const FILES[] = {"/usr/share/perl5/Debconf/Client/ConfModule.pm", "/usr/lib/os-release", "/usr/share/dpkg",
                                    "/etc/passwd", "/usr/bin"};
enum { COUNT = sizeof FILES / sizeof *FILES };

int main(void) {
    int fd = MUST(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)), watches[COUNT];
    for (int i = 0; i < COUNT; i++) watches[i] = inotify_add_watch(fd, FILES[i], IN_OPEN);
    ready();
    char room[4096] __attribute__((aligned(8)));
    for (int i = 0; i < COUNT; i++) {
        if (watches[i] < 0) continue;
        /* Others use the system as well. */
        while (read(fd, room, sizeof room) > 0) continue;
        close(MUST(open(FILES[i], O_RDONLY)));
        bool told = false;
        for (ssize_t length; !told && (length = read(fd, room, sizeof room)) > 0;)
            for (char *at = room; at < room + length; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
                told |= ((struct inotify_event *)at)->wd == watches[i];
        CHECK(told, "nothing is said of %s", FILES[i]);
    }
    return passed();
}
