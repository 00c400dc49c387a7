/* A file whose first name is gone, but another name (a hard link) is not. */
#include "check.h"

int main(void) {
    char *names[2][2] = {{in_folder("first"), in_folder("second")}, {"/tmp/roam-test-first", "/tmp/roam-test-second"}};
    int fds[2];
    for (int i = 0; i < 2; i++) {
        unlink(names[i][1]);
        fds[i] = MUST(open(names[i][0], O_RDWR | O_CREAT | O_TRUNC, 0600));
        write_all(fds[i], "0123456789", 10);
        MUST(link(names[i][0], names[i][1]));
        MUST(unlink(names[i][0]));
    }
    ready();
    for (int i = 0; i < 2; i++) {
        char text[16];
        struct stat one, two;
        CHECK(lseek(fds[i], 0, SEEK_CUR) == 10, "the offset is another");
        write_all(fds[i], "!", 1);
        int again = MUST(open(names[i][1], O_RDONLY));
        CHECK(read(again, text, 16) == 11 && memcmp(text, "0123456789!", 11) == 0, "%s is another file", names[i][1]);
        MUST(fstat(fds[i], &one));
        MUST(fstat(again, &two));
        CHECK(one.st_ino == two.st_ino && one.st_nlink == 1, "%lu names", (unsigned long)one.st_nlink);
        CHECK(access(names[i][0], F_OK) < 0, "the first name is back");
        MUST(unlink(names[i][1]));
    }
    return passed();
}
