/* A daemon: its parent has ended, process 1 has taken it over, and it has no terminal. */
#include "check.h"

int main(void) {
    int up[2], go[2];
    MUST(pipe(up));
    MUST(pipe(go));
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() > 0) _exit(0);
        char byte;
        /* Until the first parent has gone. */
        while (getppid() == getsid(0)) sched_yield();
        pid_t now[3] = {getpid(), getppid(), getsid(0)};
        write_all(up[1], now, sizeof now);
        read_all(go[0], &byte, 1);
        pid_t later[3] = {getpid(), getppid(), getsid(0)};
        write_all(up[1], later, sizeof later);
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    pid_t before[3], after[3];
    read_all(up[0], before, sizeof before);
    ready();
    write_all(go[1], "x", 1);
    read_all(up[0], after, sizeof after);
    CHECK(before[0] == after[0], "its pid was %d and is %d", before[0], after[0]);
    CHECK(before[1] == after[1], "its parent was %d and is %d", before[1], after[1]);
    CHECK(before[2] == after[2], "its session was %d and is %d", before[2], after[2]);
    return passed();
}
