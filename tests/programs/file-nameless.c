/* O_TMPFILE: files that never had a name, in HOME and in /tmp, and get one in the end (linkat). */
#include "check.h"

int main(void) {
    const char *folders[] = {in_folder("."), "/tmp"}, *names[] = {in_folder("named"), "/tmp/roam-test-named"};
    int fds[2];
    for (int i = 0; i < 2; i++) {
        fds[i] = open(folders[i], O_TMPFILE | O_RDWR, 0640);
        /* Not every file system has them. */
        if (fds[i] < 0 && errno == EOPNOTSUPP) continue;
        CHECK(fds[i] >= 0, "no nameless file in %s", folders[i]);
        write_all(fds[i], "0123456789", 10);
        unlink(names[i]);
    }
    CHECK(fds[1] >= 0, "no nameless file in /tmp");
    /* One that got its name before, and kept the flags that made it. */
    char early[64];
    int named = MUST(open("/tmp", O_TMPFILE | O_RDWR, 0600));
    snprintf(early, sizeof early, "/proc/self/fd/%d", named);
    unlink("/tmp/roam-test-early");
    MUST(linkat(AT_FDCWD, early, AT_FDCWD, "/tmp/roam-test-early", AT_SYMLINK_FOLLOW));
    ready();
    write_all(named, "early", 5);
    struct stat stat_of_early;
    CHECK(stat("/tmp/roam-test-early", &stat_of_early) == 0 && stat_of_early.st_size == 5, "the early one is another");
    MUST(unlink("/tmp/roam-test-early"));
    for (int i = 0; i < 2; i++) {
        if (fds[i] < 0) continue;
        char text[16], path[64];
        struct stat one, two;
        MUST(fstat(fds[i], &one));
        CHECK(one.st_size == 10 && one.st_nlink == 0 && (one.st_mode & 07777) == 0640, "%lld bytes, %lu links, mode %o",
              (long long)one.st_size, (unsigned long)one.st_nlink, one.st_mode);
        CHECK(lseek(fds[i], 0, SEEK_CUR) == 10, "the offset is another");
        write_all(fds[i], "!", 1);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
        CHECK(linkat(AT_FDCWD, path, AT_FDCWD, names[i], AT_SYMLINK_FOLLOW) == 0, "it gets no name in %s", folders[i]);
        int again = MUST(open(names[i], O_RDONLY));
        MUST(fstat(again, &two));
        MUST(fstat(fds[i], &one));
        CHECK(one.st_ino == two.st_ino && one.st_nlink == 1, "the named one is another");
        CHECK(read(again, text, 16) == 11 && memcmp(text, "0123456789!", 11) == 0, "it has other content");
        MUST(unlink(names[i]));
    }
    return passed();
}
