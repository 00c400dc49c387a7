/* Processes that wait for semaphores: for more, for zero, for several at once, with a time-out; and one that
 * was removed under them. */
#include "check.h"
#include <sys/sem.h>

static int set, doomed;
/* One wait; a move interrupts none. */
static int once(int id, struct sembuf *operations, size_t many, int seconds) {
    return semtimedop(id, operations, many, seconds ? &(struct timespec){seconds, 0} : NULL);
}

static int for_more(void *unused) { (void)unused; return once(set, &(struct sembuf){0, -3, 0}, 1, 0) == 0 ? 0 : 1; }
static int for_zero(void *unused) { (void)unused; return once(set, &(struct sembuf){1, 0, 0}, 1, 0) == 0 ? 0 : 1; }
static int for_both(void *unused) {
    (void)unused;
    return once(set, (struct sembuf[]){{2, -1, SEM_UNDO}, {3, -2, 0}}, 2, 0) == 0 ? 0 : 1;
}
static int for_long(void *unused) { (void)unused; return once(set, &(struct sembuf){4, -1, 0}, 1, 900) == 0 ? 0 : 1; }
static int times_out(void *unused) {
    (void)unused;
    int64_t start = now_ms();
    int answer = once(set, &(struct sembuf){5, -1, 0}, 1, 4);
    int number = errno;
    int64_t took = now_ms() - start;
    return answer < 0 && number == EAGAIN && took >= 3999 && took < 60000 ? 0 : 1;
}
static int is_removed(void *unused) {
    (void)unused;
    return once(doomed, &(struct sembuf){0, -1, 0}, 1, 0) < 0 && errno == EIDRM ? 0 : 1;
}

static int (*const bodies[])(void *) = {for_more, for_zero, for_both, for_long, times_out, is_removed};
enum { ALL = sizeof bodies / sizeof *bodies };

static void await(int id, int number, int command, int wanted) {
    int64_t start = now_ms();
    while (MUST(semctl(id, number, command)) != wanted) {
        CHECK(now_ms() - start < 20000, "%d wait for semaphore %d", semctl(id, number, command), number);
        sched_yield();
    }
}

int main(void) {
    set = MUST(semget(IPC_PRIVATE, 6, 0600));
    doomed = MUST(semget(IPC_PRIVATE, 1, 0600));
    MUST(semop(set, (struct sembuf[]){{0, 2, 0}, {1, 1, 0}, {3, 2, 0}}, 3));
    pid_t pids[ALL];
    for (int i = 0; i < ALL; i++) pids[i] = child(bodies[i], NULL);
    await(set, 0, GETNCNT, 1);
    await(set, 1, GETZCNT, 1);
    await(set, 2, GETNCNT, 1);
    await(set, 4, GETNCNT, 1);
    await(set, 5, GETNCNT, 1);
    await(doomed, 0, GETNCNT, 1);
    ready();
    await(set, 0, GETNCNT, 1);
    await(set, 1, GETZCNT, 1);
    await(set, 4, GETNCNT, 1);
    await(doomed, 0, GETNCNT, 1);
    CHECK(semctl(set, 0, GETVAL) == 2 && semctl(set, 3, GETVAL) == 2, "a waiter took without getting");
    MUST(semop(set, &(struct sembuf){0, 1, 0}, 1));
    MUST(semop(set, &(struct sembuf){1, -1, 0}, 1));
    MUST(semop(set, &(struct sembuf){2, 1, 0}, 1));
    MUST(semop(set, &(struct sembuf){4, 1, 0}, 1));
    MUST(semctl(doomed, 0, IPC_RMID));
    for (int i = 0; i < ALL; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "waiter %d ended with %x", i, status);
    }
    CHECK(semctl(set, 0, GETVAL) == 0 && semctl(set, 3, GETVAL) == 0, "what was waited for was not taken");
    CHECK(semctl(set, 2, GETVAL) == 1, "the waiter's operation was not undone at its end");
    MUST(semctl(set, 0, IPC_RMID));
    return passed();
}
