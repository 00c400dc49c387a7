/* I/O priorities of processes, children and the program itself: the class and level they chose. */
#include "check.h"

enum { WHO_PROCESS = 1, BEST = 2, IDLE = 3 };
static int go[2];

static int other(void *unused) {
    (void)unused;
    MUST(syscall(SYS_ioprio_set, WHO_PROCESS, 0, IDLE << 13));
    char byte;
    read_all(go[0], &byte, 1);
    return syscall(SYS_ioprio_get, WHO_PROCESS, 0) == IDLE << 13 ? 0 : 1;
}

int main(void) {
    MUST(pipe(go));
    pid_t pid = child(other, NULL);
    while (syscall(SYS_ioprio_get, WHO_PROCESS, pid) != IDLE << 13) sched_yield();
    MUST(syscall(SYS_ioprio_set, WHO_PROCESS, 0, BEST << 13 | 2));
    ready();
    long now = syscall(SYS_ioprio_get, WHO_PROCESS, 0);
    CHECK(now == (BEST << 13 | 2), "the I/O priority is %lx", now);
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child has another I/O priority");
    return passed();
}
