/* A lease that is being broken: who waits for the file must not be forgotten, so it is refused to move just now. */
#include "check.h"

int main(void) {
    char *path = in_folder("leased");
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK(fcntl(fd, F_SETLEASE, F_WRLCK) == 0, "no lease");
    CHECK(open(path, O_RDONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK, "the lease is not kept");
    expect_refusal_of(fd, "its lease on the file is being broken");
    ready();
    struct timespec limit = {20, 0};
    CHECK(sigtimedwait(&set, NULL, &limit) == SIGIO, "nobody says that somebody opens it");
    MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
    close(MUST(open(path, O_RDONLY)));
    return passed();
}
