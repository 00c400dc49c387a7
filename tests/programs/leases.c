/* Leases on files: for reading, on a file that both machines see; for writing, on one of the session's own; each is
 * still had, and who breaks it is told by the signal that was chosen. One for writing on a file that both machines see
 * is had as well, or the program was told that it is lost. */
#include "check.h"

enum { READER = 3, WRITER = 5, EITHER = 7 };
static struct timespec limit = {20, 0}, none;

static int leased(const char *path, int flags, int kind, int signal) {
    int fd = MUST(open(path, flags));
    MUST(fcntl(fd, F_SETSIG, signal));
    CHECK(fcntl(fd, F_SETLEASE, kind) == 0, "no lease on %s", path);
    return fd;
}

static sigset_t only(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

/* Somebody opens it: he must wait, and the owner of the lease hears of it. */
static void breaks(const char *path, int flags, int fd, int signal) {
    sigset_t set = only(signal);
    siginfo_t info;
    CHECK(sigtimedwait(&set, &info, &none) < 0, "somebody opened %s meanwhile", path);
    CHECK(open(path, flags | O_NONBLOCK) < 0 && errno == EWOULDBLOCK, "the lease on %s does not hold", path);
    CHECK(sigtimedwait(&set, &info, &limit) == signal, "nobody says that somebody opens %s", path);
    CHECK(info.si_fd == fd && info.si_code == POLL_MSG, "descriptor %d, code %d", info.si_fd, info.si_code);
    MUST(fcntl(fd, F_SETLEASE, F_UNLCK));
    close(MUST(open(path, flags)));
}

int main(void) {
    char *read_path = in_folder("read"), *either_path = in_folder("either"), *own_path = NULL;
    if (asprintf(&own_path, "/tmp/roam-lease-%d", getpid()) < 0) abort();
    for (int i = 0; i < 3; i++)
        close(MUST(open(((char *[]){read_path, either_path, own_path})[i], O_RDWR | O_CREAT | O_TRUNC, 0600)));
    for (int i = 0; i < 8; i++) {
        sigset_t set = only(SIGRTMIN + i);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    int reader = leased(read_path, O_RDONLY, F_RDLCK, SIGRTMIN + READER);
    int writer = leased(own_path, O_RDWR, F_WRLCK, SIGRTMIN + WRITER);
    int either = leased(either_path, O_RDWR, F_WRLCK, SIGRTMIN + EITHER);
    ready();
    CHECK(fcntl(reader, F_GETLEASE) == F_RDLCK, "the lease for reading is lost");
    CHECK(fcntl(writer, F_GETLEASE) == F_WRLCK, "the lease for writing is lost");
    breaks(read_path, O_WRONLY, reader, SIGRTMIN + READER);
    breaks(own_path, O_RDONLY, writer, SIGRTMIN + WRITER);
    MUST(unlink(own_path));
    if (fcntl(either, F_GETLEASE) == F_WRLCK) {
        breaks(either_path, O_RDONLY, either, SIGRTMIN + EITHER);
    } else {
        sigset_t set = only(SIGRTMIN + EITHER);
        siginfo_t info;
        CHECK(sigtimedwait(&set, &info, &none) == SIGRTMIN + EITHER, "a lease is lost and nobody was told");
        CHECK(info.si_fd == either && info.si_code == POLL_MSG, "descriptor %d, code %d", info.si_fd, info.si_code);
        CHECK(fcntl(either, F_GETLEASE) == F_UNLCK, "it has another lease");
        CHECK(fcntl(either, F_SETLEASE, F_WRLCK) == 0, "it can't be leased again");
    }
    return passed();
}
