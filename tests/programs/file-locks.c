/* Locks on files: flock, POSIX record locks and open-file locks hold against others. */
#include "check.h"
#include <sys/file.h>

static char *path;

static int tries(void *unused) {
    (void)unused;
    int fd = open(path, O_RDWR);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return 1;
    struct flock record = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
    if (fcntl(fd, F_SETLK, &record) == 0) return 2;
    record = (struct flock){.l_type = F_WRLCK, .l_start = 30, .l_len = 5};
    if (fcntl(fd, F_OFD_SETLK, &record) == 0) return 3;
    record = (struct flock){.l_type = F_WRLCK, .l_start = 20, .l_len = 5};
    if (fcntl(fd, F_SETLK, &record) != 0) return 4;
    return 0;
}

static int attempt(void) {
    int status;
    pid_t pid = child(tries, NULL);
    MUST(waitpid(pid, &status, 0));
    return WEXITSTATUS(status);
}

int main(void) {
    path = in_folder("locked");
    int one = MUST(open(path, O_RDWR | O_CREAT, 0600)), two = MUST(open(path, O_RDWR));
    MUST(flock(one, LOCK_EX));
    struct flock record = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5};
    MUST(fcntl(one, F_SETLK, &record));
    struct flock of_file = {.l_type = F_WRLCK, .l_start = 30, .l_len = 5};
    MUST(fcntl(two, F_OFD_SETLK, &of_file));
    CHECK(attempt() == 0, "the test itself");
    ready();
    int answer = attempt();
    CHECK(answer == 0, "lock %d does not hold", answer);
    MUST(flock(one, LOCK_UN));
    CHECK(attempt() == 1, "flock can't be given back");
    return passed();
}
