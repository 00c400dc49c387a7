/* A process stopped by SIGSTOP stays stopped until it is continued. */
#include "check.h"

static volatile uint64_t *count;

static int counts(void *unused) {
    (void)unused;
    for (;;) ++*count;
    return 0;
}

int main(void) {
    count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = child(counts, NULL);
    while (*count == 0) sched_yield();
    MUST(kill(pid, SIGSTOP));
    int status;
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status), "the test itself");
    uint64_t before = *count;
    ready();
    CHECK(*count == before, "it ran on while it was stopped");
    MUST(kill(pid, SIGCONT));
    CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status), "it does not continue");
    while (*count == before) sched_yield();
    end_child(pid);
    return passed();
}
