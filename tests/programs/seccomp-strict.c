/* A process that may only read, write and end, and is killed for anything else, as a decoder of untrusted data is. */
#include "filter.h"

static int to_child[2], from_child[2];

static int body(void *unused) {
    (void)unused;
    uint64_t secret[512];
    fill(secret, sizeof secret, 3);
    struct sock_filter code[] = {
        LOAD_NUMBER,
        ON(SYS_read, SECCOMP_RET_ALLOW),
        ON(SYS_write, SECCOMP_RET_ALLOW),
        ON(SYS_exit, SECCOMP_RET_ALLOW),
        ON(SYS_rt_sigreturn, SECCOMP_RET_ALLOW),
        RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    if (install(code, COUNT(code), 0) < 0) return 1;
    for (;;) {
        char byte;
        if (read(to_child[0], &byte, 1) != 1) continue;
        if (byte == 'q') syscall(SYS_getppid);
        if (!is_filled(secret, sizeof secret, 3)) byte = '!';
        byte++;
        if (write(from_child[1], &byte, 1) != 1) syscall(SYS_exit, 2);
    }
}

static void talk(const char *when) {
    char answer;
    write_all(to_child[1], "a", 1);
    read_all(from_child[0], &answer, 1);
    CHECK(answer == 'b', "%s: it answers %c", when, answer);
}

int main(void) {
    MUST(pipe(to_child));
    MUST(pipe(from_child));
    pid_t below = child(body, NULL);
    talk("before");
    ready();
    talk("after");
    write_all(to_child[1], "q", 1);
    int status;
    CHECK(waitpid(below, &status, 0) == below, "it is gone");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "a forbidden call ended with %x", status);
    return passed();
}
