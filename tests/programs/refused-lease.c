/* A lease on a file can't be carried: it is refused, and goes on working. */
#include "check.h"

int main(void) {
    char *path = in_folder("leased");
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK(fcntl(fd, F_SETLEASE, F_WRLCK) == 0, "no lease");
    expect_refusal("it holds a lease on the file");
    ready();
    CHECK(fcntl(fd, F_GETLEASE) == F_WRLCK, "the lease is lost");
    CHECK(open(path, O_RDONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK, "the lease is not kept");
    struct timespec limit = {20, 0};
    CHECK(sigtimedwait(&set, NULL, &limit) == SIGIO, "nobody says that somebody opens it");
    MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
    close(MUST(open(path, O_RDONLY)));
    return passed();
}
