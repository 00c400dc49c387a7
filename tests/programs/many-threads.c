/* Two hundred threads, each with a stack, a name, a mask and a place of its own in the queue. */
#include "check.h"

enum { COUNT = 200 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_there = PTHREAD_COND_INITIALIZER, turn_came = PTHREAD_COND_INITIALIZER;
static int there, turn = -1, wrong;

static void *run(void *number) {
    int i = (int)(intptr_t)number;
    uint64_t block[512];
    fill(block, sizeof block, (uint64_t)i);
    char name[16], now[16];
    snprintf(name, sizeof name, "worker %d", i);
    pthread_setname_np(pthread_self(), name);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + i % 30);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pid_t tid = gettid();
    pthread_mutex_lock(&mutex);
    if (++there == COUNT) pthread_cond_signal(&all_there);
    while (turn != i) pthread_cond_wait(&turn_came, &mutex);
    pthread_getname_np(pthread_self(), now, sizeof now);
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    if (!is_filled(block, sizeof block, (uint64_t)i) || strcmp(name, now) != 0 || gettid() != tid || !sigismember(&set, SIGRTMIN + i % 30)) wrong++;
    turn++;
    pthread_cond_broadcast(&turn_came);
    pthread_mutex_unlock(&mutex);
    return (void *)(intptr_t)(i * 3);
}

int main(void) {
    pthread_t threads[COUNT];
    for (int i = 0; i < COUNT; i++) CHECK(pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i) == 0, "no thread %d", i);
    pthread_mutex_lock(&mutex);
    while (there < COUNT) pthread_cond_wait(&all_there, &mutex);
    pthread_mutex_unlock(&mutex);
    ready();
    pthread_mutex_lock(&mutex);
    turn = 0;
    pthread_cond_broadcast(&turn_came);
    pthread_mutex_unlock(&mutex);
    for (int i = 0; i < COUNT; i++) {
        void *value;
        pthread_join(threads[i], &value);
        CHECK(value == (void *)(intptr_t)(i * 3), "thread %d answers %ld", i, (long)value);
    }
    CHECK(wrong == 0, "%d threads changed", wrong);
    return passed();
}
