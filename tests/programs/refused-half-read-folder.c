/* A folder in /tmp that is half read: refused for that moment, and the rest comes. */
#include "check.h"
#include <dirent.h>

int main(void) {
    enum { NAMES = 300 };
    static bool seen[NAMES];
    char path[64], buffer[2000] __attribute__((aligned(8)));
    MUST(mkdir("/tmp/roam-test-half", 0700));
    for (int i = 0; i < NAMES; i++) {
        snprintf(path, sizeof path, "/tmp/roam-test-half/%d", i);
        close(MUST(open(path, O_WRONLY | O_CREAT, 0600)));
    }
    int folder = MUST(open("/tmp/roam-test-half", O_RDONLY | O_DIRECTORY)), count = 0;
    for (bool first = true;; first = false) {
        long got = MUST(syscall(SYS_getdents64, folder, buffer, sizeof buffer));
        if (got == 0) break;
        for (long at = 0; at < got;) {
            unsigned short length;
            memcpy(&length, buffer + at + 16, 2);
            const char *name = buffer + at + 19;
            if (name[0] != '.') {
                CHECK(!seen[atoi(name)], "%s comes twice", name);
                seen[atoi(name)] = true;
                count++;
            }
            at += length;
        }
        if (first) expect_refusal_of(folder, "the folder is half read"), ready();
    }
    CHECK(count == NAMES, "only %d names came", count);
    return passed();
}
