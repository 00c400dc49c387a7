/* Filters for all threads at once. That demands that the threads have what they have in common as one filter, so it is
 * done again after the move; and a thread that went its own way is named. */
#include "filter.h"

enum { THREADS = 4 };
static pthread_barrier_t step;
static pid_t apart;

static void wait_for_all(void) { pthread_barrier_wait(&step); }

static void *run(void *argument) {
    wait_for_all();
    CHECK(is_forbidden(SYS_getppid, 99), "the first filter is not the thread's");
    wait_for_all();
    CHECK(is_forbidden(SYS_getppid, 99) && is_forbidden(SYS_getsid, 98), "the second filter is not the thread's");
    if (argument) {
        forbid(SYS_getpgrp, 96);
        apart = gettid();
    }
    wait_for_all();
    wait_for_all();
    CHECK(is_forbidden(SYS_getpgrp, 96) == (argument != NULL), "the filter of one thread");
    CHECK(syscall(SYS_getpgid, 0) >= 0, "a filter that could not be for all");
    return NULL;
}

static long forbid_for_all(long call, int with) {
    struct sock_filter code[] = {LOAD_NUMBER, ON(call, SECCOMP_RET_ERRNO | with), RETURN(SECCOMP_RET_ALLOW)};
    return install(code, COUNT(code), SECCOMP_FILTER_FLAG_TSYNC);
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&step, NULL, THREADS + 1);
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, i == 2 ? &apart : NULL);
    CHECK(MUST(forbid_for_all(SYS_getppid, 99)) == 0, "not all threads got it");
    wait_for_all();
    ready();
    CHECK(MUST(forbid_for_all(SYS_getsid, 98)) == 0, "not all threads got the second");
    wait_for_all();
    wait_for_all();
    long refused = forbid_for_all(SYS_getpgid, 95);
    CHECK(refused == apart, "thread %d went its own way, %ld is named", apart, refused);
    wait_for_all();
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return passed();
}
