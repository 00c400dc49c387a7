/* A thread that took a working directory of its own (unshare(CLONE_FS)). */
#include "check.h"
#include <sched.h>

static pthread_barrier_t before, after;

static void *run(void *unused) {
    (void)unused;
    MUST(unshare(CLONE_FS));
    MUST(chdir("/"));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    char at[4096];
    CHECK(getcwd(at, sizeof at) && strcmp(at, "/") == 0, "the thread is in %s", at);
    return NULL;
}

int main(void) {
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    char *folder = in_folder(".");
    MUST(chdir(folder));
    expect_refusal("a thread has a working directory of its own");
    ready();
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
