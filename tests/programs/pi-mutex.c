/* Priority-inheriting and robust mutexes between threads and processes: who waits gets it when it is unlocked, and
 * learns that its owner died. */
#include "proc.h"

struct shared { pthread_mutex_t mutex[2]; pid_t waiter[2]; };
static struct shared *shared;
static int go[2], held[2];

static int owner(void *number) {
    int i = (int)(intptr_t)number;
    CHECK(pthread_mutex_lock(&shared->mutex[i]) == 0, "the test itself");
    write_all(held[1], "x", 1);
    char byte;
    read_all(go[0], &byte, 1);
    if (i == 0) CHECK(pthread_mutex_unlock(&shared->mutex[0]) == 0, "the owner can't unlock it");
    return 0;
}

static void *waits(void *number) {
    int i = (int)(intptr_t)number;
    shared->waiter[i] = gettid();
    return (void *)(intptr_t)pthread_mutex_lock(&shared->mutex[i]);
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(held));
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setprotocol(&how, PTHREAD_PRIO_INHERIT);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    pid_t pids[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_mutex_init(&shared->mutex[i], &how) == 0, "no mutex");
        pids[i] = child(owner, (void *)(intptr_t)i);
        char byte;
        read_all(held[0], &byte, 1);
        pthread_create(&threads[i], NULL, waits, (void *)(intptr_t)i);
        while (!*(volatile pid_t *)&shared->waiter[i]) sched_yield();
        until_asleep(getpid(), shared->waiter[i]);
    }
    ready();
    CHECK(pthread_mutex_trylock(&shared->mutex[0]) == EBUSY, "the mutex is free");
    MUST(kill(pids[1], SIGKILL));
    void *answer;
    pthread_join(threads[1], &answer);
    CHECK(answer == (void *)EOWNERDEAD, "the owner's death shows as %ld", (long)answer);
    write_all(go[1], "x", 1);
    pthread_join(threads[0], &answer);
    CHECK(answer == NULL, "the waiter got %ld", (long)answer);
    for (int i = 0; i < 2; i++) MUST(waitpid(pids[i], NULL, 0));
    return passed();
}
