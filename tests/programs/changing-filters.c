/* Filters that are being installed all the time, by threads and by children, also in the moment of the freeze. */
#include "filter.h"
#include <stdatomic.h>

static atomic_bool enough;
static atomic_int rounds;

static int body(void *unused) {
    (void)unused;
    forbid(SYS_getppid, 99);
    if (!is_forbidden(SYS_getppid, 99) || syscall(SYS_getsid, 0) < 0) return 1;
    forbid(SYS_getsid, 98);
    return is_forbidden(SYS_getppid, 99) && is_forbidden(SYS_getsid, 98) ? 0 : 2;
}

static void *run(void *unused) {
    (void)unused;
    while (!enough) {
        pid_t below = fork();
        CHECK(below >= 0, "no child");
        if (below == 0) _exit(body(NULL));
        int status;
        while (waitpid(below, &status, 0) < 0) CHECK(errno == EINTR, "the child is gone");
        CHECK(status == 0, "a child has other filters: %x", status);
        rounds++;
    }
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run, NULL);
    while (rounds < 2) sched_yield();
    ready();
    int then = rounds;
    while (rounds < then + 4) sched_yield();
    enough = true;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return passed();
}
