/* Numbers as high as the limit allows, and few of them in between. */
#include "check.h"
#include <sys/resource.h>

int main(void) {
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    int top = (int)limit.rlim_max - 1, ends[2];
    MUST(pipe(ends));
    write_all(ends[1], "abc", 3);
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    MUST(dup2(ends[0], top));
    MUST(dup3(ends[1], top - 1, O_CLOEXEC));
    MUST(dup2(fd, top / 2));
    MUST(dup2(fd, 1000));
    ready();
    char text[4];
    read_all(top, text, 3);
    CHECK(memcmp(text, "abc", 3) == 0, "the highest is another");
    CHECK(fcntl(top - 1, F_GETFD) == FD_CLOEXEC && fcntl(top, F_GETFD) == 0, "close-on-exec");
    write_all(top - 1, "x", 1);
    read_all(ends[0], text, 1);
    MUST(lseek(1000, 77, SEEK_SET));
    CHECK(lseek(top / 2, 0, SEEK_CUR) == 77, "the one in the middle is another");
    CHECK(fcntl(top - 2, F_GETFD) < 0 && fcntl(2000, F_GETFD) < 0, "there are descriptors that were not");
    int next = MUST(dup(fd));
    CHECK(next == fd + 1, "the next free number is %d", next);
    return passed();
}
