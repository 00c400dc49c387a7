/* One open file in two processes has one offset and one set of flags; the same path opened twice has two. */
#include "check.h"

static int fd, own, go[2], back[2];

static int other(void *unused) {
    (void)unused;
    char byte, text[3];
    read_all(go[0], &byte, 1);
    read_all(fd, text, 3);
    CHECK(memcmp(text, "345", 3) == 0, "the child reads %.3s", text);
    CHECK(lseek(own, 0, SEEK_CUR) == 7, "the child's own offset is %lld", (long long)lseek(own, 0, SEEK_CUR));
    MUST(fcntl(fd, F_SETFL, O_APPEND));
    write_all(back[1], "x", 1);
    read_all(go[0], &byte, 1);
    return 0;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    write_all(fd, "0123456789", 10);
    MUST(lseek(fd, 3, SEEK_SET));
    own = MUST(open(in_folder("data"), O_RDONLY));
    MUST(lseek(own, 7, SEEK_SET));
    pid_t pid = child(other, NULL);
    int copy = MUST(dup(fd));
    close(own);
    own = MUST(open(in_folder("data"), O_RDONLY));
    ready();
    char byte;
    write_all(go[1], "x", 1);
    read_all(back[0], &byte, 1);
    CHECK(lseek(copy, 0, SEEK_CUR) == 6, "the offset is shared no more: %lld", (long long)lseek(copy, 0, SEEK_CUR));
    CHECK(lseek(own, 0, SEEK_CUR) == 0, "another's offset was changed");
    CHECK(fcntl(fd, F_GETFL) & O_APPEND, "the flags are shared no more");
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child ended with %x", status);
    return passed();
}
