/* Holes stay holes in the session's own folders: a file of a gigabyte with two pages in it. */
#include "check.h"

int main(void) {
    const char *paths[] = {"/tmp/roam-test-sparse", "/dev/shm/roam-test-sparse", "/tmp/roam-test-sparse-gone"};
    int fds[3];
    char block[4096];
    fill(block, sizeof block, 8);
    for (int i = 0; i < 3; i++) {
        fds[i] = MUST(open(paths[i], O_RDWR | O_CREAT | O_TRUNC, 0600));
        CHECK(pwrite(fds[i], block, 4096, 512 << 20) == 4096, "no room");
        CHECK(pwrite(fds[i], block, 4096, (1 << 30) - 4096) == 4096, "no room");
    }
    MUST(unlink(paths[2]));
    ready();
    for (int i = 0; i < 3; i++) {
        struct stat stat;
        MUST(fstat(fds[i], &stat));
        CHECK(stat.st_size == 1 << 30, "%s has %lld bytes", paths[i], (long long)stat.st_size);
        CHECK(stat.st_blocks <= 64, "%s takes %lld blocks", paths[i], (long long)stat.st_blocks);
        CHECK(lseek(fds[i], 0, SEEK_DATA) == 512 << 20, "the first data of %s is at %lld", paths[i],
              (long long)lseek(fds[i], 0, SEEK_DATA));
        CHECK(lseek(fds[i], 512 << 20, SEEK_HOLE) == (512 << 20) + 4096, "the hole of %s is filled", paths[i]);
        CHECK(pread(fds[i], block, 4096, (1 << 30) - 4096) == 4096 && is_filled(block, 4096, 8), "other bytes");
        CHECK(i == 2 || unlink(paths[i]) == 0, "no such name");
    }
    return passed();
}
