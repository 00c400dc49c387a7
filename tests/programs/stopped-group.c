/* A stopped group of processes, one with threads, one with blocked stop and continue signals that wait:
 * nobody runs before SIGCONT, and everybody after it. */
#include "check.h"

static struct { volatile uint64_t counts[4]; } *shared;

__attribute__((noreturn)) static void *counts(void *which) {
    for (;;) ++shared->counts[(size_t)which];
}

__attribute__((noreturn)) static int threaded(void *unused) {
    (void)unused;
    pthread_t thread;
    pthread_create(&thread, NULL, counts, (void *)1);
    pthread_create(&thread, NULL, counts, (void *)2);
    counts((void *)0);
}

static int blocks(void *unused) {
    (void)unused;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTSTP);
    shared->counts[3] = 1;
    while (shared->counts[3] == 1) {
    }
    sigset_t now;
    sigpending(&now);
    CHECK(sigismember(&now, SIGTSTP), "the stop signal that waited is gone");
    shared->counts[3] = 3;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    shared->counts[3] = 4;
    return 5;
}

int main(void) {
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t one = child(threaded, NULL), two = child(blocks, NULL);
    MUST(setpgid(one, one));
    MUST(setpgid(two, two));
    for (int i = 0; i < 4; i++)
        while (shared->counts[i] == 0) sched_yield();
    MUST(kill(-one, SIGTTIN));
    int status;
    CHECK(waitpid(one, &status, WUNTRACED) == one && WSTOPSIG(status) == SIGTTIN, "the test itself");
    uint64_t before[3];
    for (int i = 0; i < 3; i++) before[i] = shared->counts[i];
    ready();
    for (int i = 0; i < 3; i++) CHECK(shared->counts[i] == before[i], "thread %d ran while it was stopped", i);
    MUST(kill(-one, SIGCONT));
    CHECK(waitpid(one, &status, WCONTINUED) == one && WIFCONTINUED(status), "it does not continue");
    for (int i = 0; i < 3; i++)
        while (shared->counts[i] == before[i]) sched_yield();
    shared->counts[3] = 2;
    CHECK(waitpid(two, &status, WUNTRACED) == two && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP,
          "unblocked, the stop signal did %x", status);
    CHECK(shared->counts[3] == 3, "it ran past its stop");
    MUST(kill(two, SIGCONT));
    CHECK(waitpid(two, &status, 0) == two && WEXITSTATUS(status) == 5, "it ended with %x", status);
    end_child(one);
    return passed();
}
