/* Names of threads and of the process. */
#include "check.h"

static pthread_barrier_t before, after;

static void *run(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "second (of) two");
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    char name[16];
    pthread_getname_np(pthread_self(), name, sizeof name);
    CHECK(strcmp(name, "second (of) two") == 0, "the thread is called %s", name);
    return NULL;
}

int main(void) {
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    prctl(PR_SET_NAME, "first thread");
    pthread_barrier_wait(&before);
    ready();
    char name[16] = {0};
    prctl(PR_GET_NAME, name);
    CHECK(strcmp(name, "first thread") == 0, "the process is called %s", name);
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
