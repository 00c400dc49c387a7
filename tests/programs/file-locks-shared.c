/* Shared locks on files, of two processes each: others may share them and not have them alone, and each of the two has its own.
 * And threads that wait for a lock, of a process, of an open file, and of flock: they get it when it is given back, not before. */
#include "proc.h"
#include <sys/file.h>

enum { RECORD = 100, OPEN_FILE = 200, WAIT_RECORD = 300, WAIT_OPEN_FILE = 400, WAITS = 3 };

static char *path, *other;
static int holds[2];

static int lock(int fd, int command, short type, off_t start) {
    return fcntl(fd, command, &(struct flock){.l_type = type, .l_start = start, .l_len = 5});
}

/* What somebody else may have: a bit for each, first shared, then alone. */
static int tries(void *unused) {
    (void)unused;
    int fd = open(path, O_RDWR), may = 0;
    may |= (flock(fd, LOCK_SH | LOCK_NB) == 0) << 0;
    flock(fd, LOCK_UN);
    may |= (flock(fd, LOCK_EX | LOCK_NB) == 0) << 1;
    flock(fd, LOCK_UN);
    may |= (lock(fd, F_SETLK, F_RDLCK, RECORD) == 0) << 2;
    may |= (lock(fd, F_SETLK, F_WRLCK, RECORD) == 0) << 3;
    may |= (lock(fd, F_OFD_SETLK, F_RDLCK, OPEN_FILE) == 0) << 4;
    may |= (lock(fd, F_OFD_SETLK, F_WRLCK, OPEN_FILE) == 0) << 5;
    return may;
}

static int attempt(void) {
    int status;
    pid_t pid = child(tries, NULL);
    MUST(waitpid(pid, &status, 0));
    return WEXITSTATUS(status);
}

/* Has the same shared locks, and those that are waited for; gives one group back after the other. */
static int shares(void *unused) {
    (void)unused;
    int fd = MUST(open(path, O_RDWR)), held = MUST(open(other, O_RDWR));
    MUST(flock(fd, LOCK_SH));
    MUST(lock(fd, F_SETLK, F_RDLCK, RECORD));
    MUST(lock(fd, F_OFD_SETLK, F_RDLCK, OPEN_FILE));
    MUST(lock(held, F_SETLK, F_WRLCK, WAIT_RECORD));
    MUST(lock(held, F_OFD_SETLK, F_WRLCK, WAIT_OPEN_FILE));
    MUST(flock(held, LOCK_EX));
    char byte;
    write_all(holds[1], "x", 1);
    read_all(holds[1], &byte, 1);
    MUST(flock(fd, LOCK_UN));
    MUST(lock(fd, F_SETLK, F_UNLCK, RECORD));
    MUST(lock(fd, F_OFD_SETLK, F_UNLCK, OPEN_FILE));
    write_all(holds[1], "x", 1);
    read_all(holds[1], &byte, 1);
    MUST(lock(held, F_SETLK, F_UNLCK, WAIT_RECORD));
    MUST(lock(held, F_OFD_SETLK, F_UNLCK, WAIT_OPEN_FILE));
    MUST(flock(held, LOCK_UN));
    write_all(holds[1], "x", 1);
    for (;;) pause();
}

static int waiting[WAITS], answers[WAITS], numbers[WAITS];
static pid_t tids[WAITS];

static void *waits(void *which) {
    int i = (int)(intptr_t)which;
    __atomic_store_n(&tids[i], gettid(), __ATOMIC_SEQ_CST);
    answers[i] = i == 0   ? lock(waiting[i], F_SETLKW, F_WRLCK, WAIT_RECORD)
                 : i == 1 ? lock(waiting[i], F_OFD_SETLKW, F_WRLCK, WAIT_OPEN_FILE)
                          : flock(waiting[i], LOCK_EX);
    numbers[i] = errno;
    return NULL;
}

int main(void) {
    char byte;
    path = in_folder("shared");
    other = in_folder("waited-for");
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600)), again = MUST(open(path, O_RDONLY));
    for (int i = 0; i < WAITS; i++) waiting[i] = MUST(open(other, O_RDWR | O_CREAT, 0600));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, holds));
    MUST(flock(fd, LOCK_SH));
    MUST(lock(fd, F_SETLK, F_RDLCK, RECORD));
    MUST(lock(again, F_OFD_SETLK, F_RDLCK, OPEN_FILE));
    pid_t pid = child(shares, NULL);
    read_all(holds[0], &byte, 1);
    pthread_t threads[WAITS];
    for (int i = 0; i < WAITS; i++) {
        pthread_create(&threads[i], NULL, waits, (void *)(intptr_t)i);
        while (!__atomic_load_n(&tids[i], __ATOMIC_SEQ_CST)) sched_yield();
        until_asleep(getpid(), tids[i]);
    }
    CHECK(attempt() == 025, "the test itself: %o", attempt());
    ready();
    CHECK(attempt() == 025, "of two who share, others may have %o", attempt());
    /* One of the two goes; the other's hold. */
    write_all(holds[0], "x", 1);
    read_all(holds[0], &byte, 1);
    CHECK(attempt() == 025, "of one who shares, others may have %o", attempt());
    MUST(flock(fd, LOCK_UN));
    MUST(lock(fd, F_SETLK, F_UNLCK, RECORD));
    MUST(lock(again, F_OFD_SETLK, F_UNLCK, OPEN_FILE));
    CHECK(attempt() == 077, "given back, others may have only %o", attempt());
    for (int i = 0; i < WAITS; i++) CHECK(pthread_tryjoin_np(threads[i], NULL) == EBUSY, "waiter %d ended: %d, errno %d", i, answers[i], numbers[i]);
    write_all(holds[0], "x", 1);
    read_all(holds[0], &byte, 1);
    for (int i = 0; i < WAITS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(answers[i] == 0, "waiter %d has errno %d", i, numbers[i]);
    }
    int late = MUST(open(other, O_RDWR));
    CHECK(flock(late, LOCK_SH | LOCK_NB) < 0 && lock(late, F_OFD_SETLK, F_RDLCK, WAIT_OPEN_FILE) < 0, "who waited has no lock");
    end_child(pid);
    return passed();
}
