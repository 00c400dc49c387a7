/* PR_SET_TSC: one thread may not read the time stamp counter and is told so by SIGSEGV, another may. */
#include "check.h"
#include <setjmp.h>
#include <x86intrin.h>

static sigjmp_buf back;
static pthread_barrier_t before, after;

static void on_fault(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static bool traps(void) {
    if (sigsetjmp(back, 1)) return true;
    __rdtsc();
    return false;
}

static void *other(void *unused) {
    (void)unused;
    MUST(prctl(PR_SET_TSC, PR_TSC_SIGSEGV));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    int now = 0;
    MUST(prctl(PR_GET_TSC, &now));
    CHECK(now == PR_TSC_SIGSEGV, "it is allowed, says the kernel");
    CHECK(traps(), "it is not trapped any more");
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_fault};
    MUST(sigaction(SIGSEGV, &action, NULL));
    pthread_t thread;
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_create(&thread, NULL, other, NULL);
    pthread_barrier_wait(&before);
    ready();
    int now = 0;
    MUST(prctl(PR_GET_TSC, &now));
    CHECK(now == PR_TSC_ENABLE, "the main thread got the other's setting");
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
