/* Each thread's own mask of blocked signals. */
#include "check.h"

static pthread_barrier_t before, after;

static void *run(void *number) {
    sigset_t set, now;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + (int)(intptr_t)number);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    for (int i = 1; i <= 64; i++) {
        if (i == 32 || i == 33) continue;
        CHECK(sigismember(&now, i) == sigismember(&set, i), "signal %d in thread %d", i, (int)(intptr_t)number);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[6];
    pthread_barrier_init(&before, NULL, 7);
    pthread_barrier_init(&after, NULL, 7);
    for (intptr_t i = 0; i < 6; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    pthread_barrier_wait(&before);
    ready();
    pthread_barrier_wait(&after);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    return passed();
}
