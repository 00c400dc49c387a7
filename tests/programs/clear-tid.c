/* Where the kernel clears a thread's id at its end and wakes who waits there: for a thread made by clone(2), and
 * for one that moved the place by set_tid_address. */
#include "check.h"
#include <linux/futex.h>
#include <sched.h>

static char stack[2][65536] __attribute__((aligned(16)));
static volatile uint32_t go, tid[2], other;

static int body(void *number) {
    if (number) MUST(syscall(SYS_set_tid_address, &other));
    while (!go) syscall(SYS_futex, &go, FUTEX_WAIT, 0, NULL, NULL, 0);
    return 0;
}

int main(void) {
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;
    for (long i = 0; i < 2; i++)
        MUST(clone(body, stack[i] + sizeof stack[i], flags, (void *)i, &tid[i], NULL, &tid[i]));
    uint32_t ids[2] = {tid[0], tid[1]};
    other = 7;
    ready();
    CHECK(tid[0] == ids[0] && tid[1] == ids[1] && other == 7, "the ids changed");
    CHECK(syscall(SYS_tgkill, getpid(), (pid_t)ids[0], 0) == 0 && syscall(SYS_tgkill, getpid(), (pid_t)ids[1], 0) == 0, "a thread is gone");
    go = 1;
    MUST(syscall(SYS_futex, &go, FUTEX_WAKE, 2, NULL, NULL, 0));
    volatile uint32_t *places[2] = {&tid[0], &other};
    for (int i = 0; i < 2; i++)
        for (uint32_t seen; (seen = *places[i]) != 0;) {
            /* Woken at its end, or never. */
            struct timespec limit = {20, 0};
            long answer = syscall(SYS_futex, places[i], FUTEX_WAIT, seen, &limit, NULL, 0);
            CHECK(answer == 0 || errno == EAGAIN || errno == EINTR, "nobody cleared the id of thread %d", i);
        }
    CHECK(tid[1] == ids[1], "the old place was cleared");
    return passed();
}
