/* The device nodes that every program may have open. */
#include "check.h"

int main(void) {
    const char *names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    int fds[5], flags[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = MUST(open(names[i], i == 3 || i == 4 ? O_RDONLY | O_NONBLOCK : O_RDWR | O_CLOEXEC));
        flags[i] = MUST(fcntl(fds[i], F_GETFL));
    }
    int writes_only = MUST(open("/dev/null", O_WRONLY | O_APPEND));
    ready();
    for (int i = 0; i < 5; i++) {
        char bytes[16];
        memset(bytes, 1, sizeof bytes);
        CHECK(fcntl(fds[i], F_GETFL) == flags[i], "%s has flags %o", names[i], fcntl(fds[i], F_GETFL));
        struct stat one, two;
        MUST(fstat(fds[i], &one));
        MUST(stat(names[i], &two));
        CHECK(S_ISCHR(one.st_mode) && one.st_rdev == two.st_rdev, "%s is another device", names[i]);
        ssize_t got = read(fds[i], bytes, 16);
        CHECK(got == (i == 0 ? 0 : 16), "%s gives %zd", names[i], got);
        if (i == 1 || i == 2) CHECK(bytes[0] == 0 && bytes[15] == 0, "%s gives no zeros", names[i]);
        if (i < 2) CHECK(write(fds[i], "x", 1) == 1, "%s takes nothing", names[i]);
    }
    CHECK(write(fds[2], "x", 1) < 0 && errno == ENOSPC, "/dev/full is not full");
    CHECK(read(writes_only, (char[1]){0}, 1) < 0 && errno == EBADF, "it can be read");
    return passed();
}
