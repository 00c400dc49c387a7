/* Unlinked files in HOME and in /tmp that two processes share, by fork and by opening twice. */
#include "check.h"

static int shared[2], own[2], go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    for (int i = 0; i < 2; i++) {
        char text[4];
        read_all(shared[i], text, 4);
        CHECK(memcmp(text, "4567", 4) == 0, "the child reads %.4s", text);
        CHECK(pwrite(own[i], "child", 5, 20) == 5, "the child can't write");
    }
    return 0;
}

int main(void) {
    const char *paths[] = {in_folder("gone"), "/tmp/roam-test-gone"};
    MUST(pipe(go));
    for (int i = 0; i < 2; i++) {
        shared[i] = MUST(open(paths[i], O_RDWR | O_CREAT | O_TRUNC, 0640));
        own[i] = MUST(open(paths[i], O_WRONLY));
        write_all(shared[i], "0123456789", 10);
        MUST(lseek(shared[i], 4, SEEK_SET));
        MUST(unlink(paths[i]));
    }
    pid_t pid = child(other, NULL);
    ready();
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child ended with %x", status);
    for (int i = 0; i < 2; i++) {
        char text[32];
        struct stat stat;
        CHECK(lseek(shared[i], 0, SEEK_CUR) == 8, "the offset of %s is shared no more", paths[i]);
        CHECK(pread(shared[i], text, 32, 0) == 25 && memcmp(text + 20, "child", 5) == 0, "%s is two files now", paths[i]);
        MUST(fstat(shared[i], &stat));
        CHECK(stat.st_nlink == 0 && (stat.st_mode & 07777) == 0640, "%lu links, mode %o", (unsigned long)stat.st_nlink, stat.st_mode);
        CHECK(access(paths[i], F_OK) < 0, "%s is back", paths[i]);
        CHECK(ftruncate(shared[i], 3) == 0 && pread(own[i], text, 1, 0) < 0, "it can't be cut");
    }
    return passed();
}
