/* Threads and processes that wait for a mutex, a condition, a semaphore. */
#include "check.h"
#include <semaphore.h>

struct shared {
    pthread_mutex_t mutex;
    sem_t semaphore, done;
};
static struct shared *shared;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool told;
static int waiting;

static int other(void *unused) {
    (void)unused;
    pthread_mutex_lock(&shared->mutex);
    pthread_mutex_unlock(&shared->mutex);
    while (sem_wait(&shared->semaphore) < 0 && errno == EINTR) {
    }
    return 5;
}

static void *run(void *unused) {
    (void)unused;
    pthread_mutex_lock(&mutex);
    waiting++;
    while (!told) pthread_cond_wait(&condition, &mutex);
    waiting--;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

int main(void) {
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attribute;
    pthread_mutexattr_init(&attribute);
    pthread_mutexattr_setpshared(&attribute, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&shared->mutex, &attribute);
    sem_init(&shared->semaphore, 1, 0);
    pthread_mutex_lock(&shared->mutex);
    pid_t pids[3];
    for (int i = 0; i < 3; i++) pids[i] = child(other, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run, NULL);
    for (bool all = false; !all; sched_yield()) {
        pthread_mutex_lock(&mutex);
        all = waiting == 4;
        pthread_mutex_unlock(&mutex);
    }
    ready();
    CHECK(pthread_mutex_trylock(&shared->mutex) == EBUSY, "the mutex is free");
    pthread_mutex_unlock(&shared->mutex);
    for (int i = 0; i < 3; i++) sem_post(&shared->semaphore);
    for (int i = 0; i < 3; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WEXITSTATUS(status) == 5, "waiter %d: %x", i, status);
    }
    pthread_mutex_lock(&mutex);
    CHECK(waiting == 4, "a thread stopped waiting by itself");
    told = true;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0, "thread %d", i);
    return passed();
}
