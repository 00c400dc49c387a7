/* Mutex, condition, barrier and semaphore in memory that processes share: waiters of one are woken by another. */
#include "proc.h"
#include <semaphore.h>

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    pthread_barrier_t barrier;
    sem_t semaphore;
    int open, through;
};
static struct shared *shared;

static int by_condition(void *unused) {
    (void)unused;
    pthread_mutex_lock(&shared->mutex);
    while (!shared->open) pthread_cond_wait(&shared->condition, &shared->mutex);
    shared->through++;
    pthread_mutex_unlock(&shared->mutex);
    return 1;
}
static int by_barrier(void *unused) {
    (void)unused;
    pthread_barrier_wait(&shared->barrier);
    return 2;
}
static int by_semaphore(void *unused) {
    (void)unused;
    while (sem_wait(&shared->semaphore) < 0 && errno == EINTR) {
    }
    return 3;
}

int main(void) {
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 4096));
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &how);
    pthread_condattr_t cond;
    pthread_condattr_init(&cond);
    pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&shared->condition, &cond);
    pthread_barrierattr_t barrier;
    pthread_barrierattr_init(&barrier);
    pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &barrier, 3);
    sem_init(&shared->semaphore, 1, 0);
    pid_t pids[6];
    int (*const bodies[6])(void *) = {by_condition, by_condition, by_barrier, by_barrier, by_semaphore, by_semaphore};
    for (int i = 0; i < 6; i++) pids[i] = child(bodies[i], NULL);
    for (int i = 0; i < 6; i++) until_asleep(pids[i], pids[i]);
    ready();
    pthread_mutex_lock(&shared->mutex);
    shared->open = 1;
    pthread_cond_broadcast(&shared->condition);
    pthread_mutex_unlock(&shared->mutex);
    pthread_barrier_wait(&shared->barrier);
    sem_post(&shared->semaphore);
    sem_post(&shared->semaphore);
    for (int i = 0; i < 6; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == i / 2 + 1, "waiter %d ended with %x", i, status);
    }
    CHECK(shared->through == 2, "%d came through", shared->through);
    return passed();
}
