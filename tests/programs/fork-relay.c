/* A process that is never the same: each forks its successor and ends, as fast as it can, while threads start and
 * end, memory is mapped and unmapped, and files are opened and closed. Whatever moment is taken, it is whole. */
#include "check.h"
#include <stdatomic.h>

struct shared { _Atomic(uint64_t) handed, maps, opens, threads; atomic_bool stop; };
static struct shared *shared;

static int relay(void *unused) {
    (void)unused;
    for (;;) {
        uint64_t on_stack = ++shared->handed;
        if (shared->stop) return 0;
        pid_t pid = fork();
        if (pid < 0) failed("no successor: %s", strerror(errno));
        if (pid > 0) _exit(0);
        prctl(PR_SET_PDEATHSIG, 0);
        if (on_stack > shared->handed) failed("the successor knows more than there is");
    }
}

static void *nothing(void *value) { return value; }

static int busy(void *unused) {
    (void)unused;
    while (!shared->stop) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, shared) != 0) failed("no thread");
        char *memory = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory != MAP_FAILED, "no memory");
        memory[5 * 4096] = 5;
        CHECK(memory[5 * 4096] == 5 && memory[6 * 4096] == 0, "memory is not what was written");
        munmap(memory, 16 * 4096);
        shared->maps++;
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];
        CHECK(fd >= 0 && pipe(ends) == 0, "no descriptor");
        write_all(ends[1], "x", 1);
        char byte;
        read_all(ends[0], &byte, 1);
        close(fd);
        close(ends[0]);
        close(ends[1]);
        shared->opens++;
        void *value;
        pthread_join(thread, &value);
        CHECK(value == shared, "a thread ended otherwise");
        shared->threads++;
    }
    return 0;
}

int main(void) {
    /* Successors come to us when the one before has ended. */
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    signal(SIGCHLD, SIG_IGN);
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "no memory");
    child(relay, NULL);
    child(busy, NULL);
    while (shared->handed < 50 || shared->maps < 50) sched_yield();
    ready();
    uint64_t handed = shared->handed, threads = shared->threads;
    while (shared->handed < handed + 50 || shared->threads < threads + 50) {
        CHECK(waitpid(-1, NULL, WNOHANG) >= 0, "nobody is left after %lu", (unsigned long)shared->handed);
        sched_yield();
    }
    shared->stop = true;
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    return passed();
}
