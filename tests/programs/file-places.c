/* O_PATH: places of a file, a folder, a symbolic link, a FIFO and a socket; what can be done from there. */
#include "check.h"
#include <sys/un.h>

int main(void) {
    char *file = in_folder("file"), *folder = in_folder("folder"), *link = in_folder("link"), *fifo = in_folder("fifo");
    int fd = MUST(open(file, O_WRONLY | O_CREAT, 0600));
    write_all(fd, "content", 7);
    MUST(mkdir(folder, 0700));
    MUST(symlink("to nowhere", link));
    MUST(mkfifo(fifo, 0600));
    int places[] = {MUST(open(file, O_PATH)), MUST(open(folder, O_PATH | O_DIRECTORY)),
                    MUST(open(link, O_PATH | O_NOFOLLOW)), MUST(open(fifo, O_PATH)),
                    MUST(open("/dev/null", O_PATH)), MUST(open("/", O_PATH))};
    int flags[6];
    struct stat stats[6];
    for (int i = 0; i < 6; i++) {
        flags[i] = MUST(fcntl(places[i], F_GETFL));
        MUST(fstat(places[i], &stats[i]));
    }
    ready();
    char text[32], path[64];
    for (int i = 0; i < 6; i++) {
        struct stat now;
        MUST(fstat(places[i], &now));
        CHECK((now.st_mode & S_IFMT) == (stats[i].st_mode & S_IFMT), "place %d is %o", i, now.st_mode);
        CHECK(i > 3 || now.st_ino == stats[i].st_ino, "place %d is another one", i);
        CHECK(fcntl(places[i], F_GETFL) == flags[i], "place %d has flags %o, not %o", i, fcntl(places[i], F_GETFL), flags[i]);
        CHECK(read(places[i], text, 1) < 0 && errno == EBADF, "a place can be read");
    }
    CHECK(readlinkat(places[2], "", text, sizeof text) == 10 && memcmp(text, "to nowhere", 10) == 0, "another link");
    snprintf(path, sizeof path, "/proc/self/fd/%d", places[0]);
    int again = MUST(open(path, O_RDONLY));
    read_all(again, text, 7);
    CHECK(memcmp(text, "content", 7) == 0, "another file");
    close(MUST(openat(places[1], "new", O_WRONLY | O_CREAT, 0600)));
    CHECK(access(in_folder("folder/new"), F_OK) == 0, "the folder is another one");
    MUST(fchdir(places[1]));
    CHECK(access("new", F_OK) == 0, "it leads to another folder");
    return passed();
}
