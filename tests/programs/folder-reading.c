/* A folder that is half read (readdir): each of the rest comes once, none of the first comes again. One in
 * /tmp that is read whole, and one of which nothing is read. */
#include "check.h"
#include <dirent.h>

enum { NAMES = 300 };

static DIR *start(const char *folder, bool *seen) {
    char path[4096];
    MUST(mkdir(folder, 0700));
    for (int i = 0; i < NAMES; i++) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        close(MUST(open(path, O_WRONLY | O_CREAT, 0600)));
    }
    /* What is gone in between must not matter. */
    for (int i = 0; i < NAMES; i += 7) {
        snprintf(path, sizeof path, "%s/%d", folder, i);
        MUST(unlink(path));
        seen[i] = true;
    }
    DIR *dir = opendir(folder);
    CHECK(dir, "it does not open");
    return dir;
}

/* Straight from the kernel, so that nothing read ahead lies in memory. */
static int read_some(int fd, bool *seen, size_t room) {
    char buffer[4096] __attribute__((aligned(8)));
    long got = syscall(SYS_getdents64, fd, buffer, room);
    CHECK(got >= 0, "the folder can't be read");
    int count = 0;
    for (long at = 0; at < got; count++) {
        unsigned short length;
        memcpy(&length, buffer + at + 16, 2);
        const char *name = buffer + at + 19;
        if (name[0] != '.') {
            int index = atoi(name);
            CHECK(!seen[index], "%d comes twice", index);
            seen[index] = true;
        }
        at += length;
    }
    return count;
}

int main(void) {
    static bool seen[3][NAMES];
    const char *folders[] = {in_folder("many"), "/tmp/roam-test-many", "/tmp/roam-test-unread"};
    DIR *dirs[3];
    for (int i = 0; i < 3; i++) dirs[i] = start(folders[i], seen[i]);
    CHECK(read_some(dirfd(dirs[0]), seen[0], 2000) > 20, "the test itself");
    while (read_some(dirfd(dirs[1]), seen[1], 4096) > 0) {
    }
    ready();
    for (int i = 0; i < 3; i++) {
        while (read_some(dirfd(dirs[i]), seen[i], 4096) > 0) {
        }
        for (int k = 0; k < NAMES; k++) CHECK(seen[i][k], "%d of %s does not come", k, folders[i]);
    }
    MUST(lseek(dirfd(dirs[1]), 0, SEEK_SET));
    bool again[NAMES] = {false};
    while (read_some(dirfd(dirs[1]), again, 4096) > 0) {
    }
    CHECK(again[1] && again[NAMES - 1], "read anew it is empty");
    return passed();
}
