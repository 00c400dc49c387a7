/* Files opened with O_TRUNC, O_CREAT and O_EXCL: that happened once, and must not happen again. */
#include "check.h"

int main(void) {
    const char *folders[] = {in_folder("cut"), "/tmp/roam-test-cut"};
    int cut[2], made[2];
    for (int i = 0; i < 2; i++) {
        close(MUST(open(folders[i], O_WRONLY | O_CREAT | O_TRUNC, 0640)));
        cut[i] = MUST(open(folders[i], O_RDWR | O_TRUNC));
        write_all(cut[i], "0123456789", 10);
        char *other = NULL;
        if (asprintf(&other, "%s.new", folders[i]) < 0) abort();
        unlink(other);
        made[i] = MUST(open(other, O_RDWR | O_CREAT | O_EXCL, 0604));
        write_all(made[i], "made", 4);
    }
    ready();
    for (int i = 0; i < 2; i++) {
        char text[16];
        struct stat stat;
        MUST(fstat(cut[i], &stat));
        CHECK(stat.st_size == 10 && (stat.st_mode & 0777) == 0640, "%s: %lld bytes, mode %o", folders[i],
              (long long)stat.st_size, stat.st_mode);
        CHECK(lseek(cut[i], 0, SEEK_CUR) == 10, "the offset of %s is another", folders[i]);
        CHECK(pread(cut[i], text, 16, 0) == 10 && memcmp(text, "0123456789", 10) == 0, "%s has other content", folders[i]);
        MUST(fstat(made[i], &stat));
        CHECK(stat.st_size == 4 && (stat.st_mode & 0777) == 0604, "the new one has mode %o", stat.st_mode);
        write_all(made[i], "!", 1);
        CHECK(pread(made[i], text, 16, 0) == 5 && memcmp(text, "made!", 5) == 0, "the new one has other content");
        unlink(folders[i]);
    }
    unlink("/tmp/roam-test-cut.new");
    return passed();
}
