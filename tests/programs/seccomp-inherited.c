/* Children have their parent's filters and may add their own, which nobody else gets; so do threads; a program that
 * is executed keeps them. */
#include "filter.h"

static int report[2], go[2];
static pthread_barrier_t at_ready, at_end;

static void tell(bool right) { write_all(report[1], right ? "y" : "n", 1); }

static void hear(const char *who) {
    char answer;
    read_all(report[0], &answer, 1);
    CHECK(answer == 'y', "%s has other filters", who);
}

static int grandchild(void *unused) {
    (void)unused;
    char byte;
    tell(is_forbidden(SYS_getppid, 99) && is_forbidden(SYS_getsid, 98));
    read_all(go[0], &byte, 1);
    tell(is_forbidden(SYS_getppid, 99) && is_forbidden(SYS_getsid, 98) && syscall(SYS_getpgid, 0) >= 0);
    return 0;
}

static int middle(void *unused) {
    (void)unused;
    forbid(SYS_getsid, 98);
    pid_t below = child(grandchild, NULL);
    return waitpid(below, NULL, 0) == below ? 0 : 1;
}

static void *run(void *unused) {
    (void)unused;
    forbid(SYS_getpgrp, 97);
    pthread_barrier_wait(&at_ready);
    pthread_barrier_wait(&at_end);
    CHECK(is_forbidden(SYS_getppid, 99) && is_forbidden(SYS_getpgrp, 97), "the thread's filters are gone");
    CHECK(syscall(SYS_getsid, 0) >= 0, "the thread has the child's filter");
    return NULL;
}

int main(void) {
    MUST(pipe(report));
    MUST(pipe(go));
    pthread_barrier_init(&at_ready, NULL, 2);
    pthread_barrier_init(&at_end, NULL, 2);
    forbid(SYS_getppid, 99);
    pid_t below = child(middle, NULL);
    hear("the grandchild");
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&at_ready);
    ready();
    write_all(go[1], "g", 1);
    hear("the grandchild, after,");
    int status;
    CHECK(waitpid(below, &status, 0) == below && status == 0, "the child ended with %x", status);
    CHECK(is_forbidden(SYS_getppid, 99) && syscall(SYS_getsid, 0) >= 0 && syscall(SYS_getpgrp) >= 0, "the first's filters");
    pthread_barrier_wait(&at_end);
    pthread_join(thread, NULL);
    pid_t next = MUST(fork());
    if (next == 0) {
        execl("/bin/sh", "sh", "-c", "grep -q '^NoNewPrivs:.1$' /proc/self/status", NULL);
        _exit(2);
    }
    CHECK(waitpid(next, &status, 0) == next && status == 0, "a new program ends with %x", status);
    return passed();
}
