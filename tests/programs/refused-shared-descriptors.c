/* A descriptor shared by parent and child: one offset; threads and a CLONE_FILES child: one table. */
#include "check.h"
#include <sched.h>

static int fd, go[2], back[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    char text[3];
    read_all(fd, text, 3);
    CHECK(memcmp(text, "345", 3) == 0, "the child reads %.3s", text);
    write_all(back[1], "x", 1);
    return 0;
}

static char stack[65536] __attribute__((aligned(16)));
static volatile int opened = -1;
static int sibling(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    opened = open("/dev/zero", O_RDONLY);
    write_all(back[1], "x", 1);
    _exit(0);
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    write_all(fd, "0123456789", 10);
    MUST(lseek(fd, 3, SEEK_SET));
    pid_t pid = child(other, NULL);
    pid_t shares = MUST(clone(sibling, stack + sizeof stack, CLONE_FILES | CLONE_VM | SIGCHLD, NULL));
    expect_refusal("it is shared with process");
    ready();
    write_all(go[1], "xx", 2);
    char bytes[2];
    read_all(back[0], bytes, 2);
    CHECK(lseek(fd, 0, SEEK_CUR) == 6, "the offset is shared no more: %lld", (long long)lseek(fd, 0, SEEK_CUR));
    CHECK(opened >= 0 && fcntl(opened, F_GETFD) >= 0, "the table is shared no more");
    int status;
    MUST(waitpid(pid, &status, 0));
    MUST(waitpid(shares, &status, 0));
    return passed();
}
