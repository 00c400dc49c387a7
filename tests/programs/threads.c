/* Threads: their ids, their own memory, and that each of them goes on. */
#include "check.h"

enum { N = 24 };
static __thread uint64_t own;
static pthread_barrier_t before, after;

static void *run(void *number) {
    own = (uintptr_t)number * 1001;
    pid_t tid = (pid_t)syscall(SYS_gettid);
    pthread_t self = pthread_self();
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(own == (uintptr_t)number * 1001, "a thread's own memory changed");
    CHECK((pid_t)syscall(SYS_gettid) == tid, "a thread id changed");
    CHECK(pthread_equal(self, pthread_self()), "a thread does not know itself");
    return number;
}

int main(void) {
    pthread_t threads[N];
    pthread_barrier_init(&before, NULL, N + 1);
    pthread_barrier_init(&after, NULL, N + 1);
    for (uintptr_t i = 0; i < N; i++) CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0, "no thread");
    pthread_barrier_wait(&before);
    ready();
    pthread_barrier_wait(&after);
    for (uintptr_t i = 0; i < N; i++) {
        void *value;
        CHECK(pthread_join(threads[i], &value) == 0 && value == (void *)i, "thread %zu can't be joined", (size_t)i);
    }
    pthread_t more;
    pthread_barrier_init(&before, NULL, 1);
    pthread_barrier_init(&after, NULL, 1);
    CHECK(pthread_create(&more, NULL, run, (void *)99) == 0 && pthread_join(more, NULL) == 0, "no new thread");
    return passed();
}
