/* A memfd that is open several times: readers by /proc/self/fd, a child's, one sealed; each its own offset. */
#include "check.h"

static int reader;

static int other(void *unused) {
    (void)unused;
    char text[4];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    while (sigwaitinfo(&set, NULL) < 0) {
    }
    read_all(reader, text, 3);
    return memcmp(text, "234", 3) == 0 ? 5 : 1;
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = MUST(memfd_create("a name", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    write_all(fd, "0123456789", 10);
    char path[64], link[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    reader = MUST(open(path, O_RDONLY));
    int append = MUST(open(path, O_WRONLY | O_APPEND));
    MUST(lseek(reader, 2, SEEK_SET));
    int sealed = MUST(memfd_create("sealed", MFD_ALLOW_SEALING));
    write_all(sealed, "fixed", 5);
    MUST(fcntl(sealed, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL));
    pid_t pid = child(other, NULL);
    ready();
    kill(pid, SIGUSR1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 5, "the child read something else");
    CHECK(lseek(reader, 0, SEEK_CUR) == 5 && lseek(fd, 0, SEEK_CUR) == 10, "the offsets are other ones");
    write_all(append, "abc", 3);
    char text[16];
    CHECK(pread(reader, text, 16, 0) == 13 && memcmp(text + 10, "abc", 3) == 0, "they are several files now");
    CHECK(write(reader, "x", 1) < 0 && errno == EBADF, "the reader writes");
    ssize_t length = MUST(readlink(path, link, sizeof link));
    CHECK(length == 23 && memcmp(link, "/memfd:a name (deleted)", 23) == 0, "its name is %.*s", (int)length, link);
    CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL), "seals: %x",
          fcntl(sealed, F_GET_SEALS));
    CHECK(pwrite(sealed, "x", 1, 0) < 0 && errno == EPERM, "the sealed one is written");
    return passed();
}
