/* How threads let their processor guess ahead (PR_SET_SPECULATION_CTRL), which sandboxes forbid for their own safety:
 * one for good, one until it asks otherwise, one until it executes, and one not at all. Where the processor or
 * the kernel leaves threads no choice there is nothing to keep. */
#include "check.h"

enum { THREADS = 5, MAY_CHOOSE = 1 };
static const struct { int which, how; } wanted[THREADS] = {
    {PR_SPEC_STORE_BYPASS, PR_SPEC_FORCE_DISABLE}, {PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE}, {PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE_NOEXEC},
    {PR_SPEC_INDIRECT_BRANCH, PR_SPEC_DISABLE}, {PR_SPEC_STORE_BYPASS, 0}};
static pthread_barrier_t before, after;

static int state(int which) { return prctl(PR_GET_SPECULATION_CTRL, which, 0, 0, 0); }

static void *run(void *number) {
    int i = (int)(intptr_t)number, which = wanted[i].which, first = state(which);
    bool chosen = wanted[i].how && first > 0 && (first & MAY_CHOOSE) && prctl(PR_SET_SPECULATION_CTRL, which, wanted[i].how, 0, 0) == 0;
    int was = state(which);
    CHECK(!chosen || was == (MAY_CHOOSE | wanted[i].how), "the test itself: thread %d has %d", i, was);
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    int now = state(which);
    /* The next machine may leave no choice. */
    if (now > 0 && (now & MAY_CHOOSE) && first > 0 && (first & MAY_CHOOSE)) CHECK(now == was, "thread %d has %d, had %d", i, now, was);
    if (chosen && wanted[i].how == PR_SPEC_FORCE_DISABLE && (now & MAY_CHOOSE) && now > 0)
        CHECK(prctl(PR_SET_SPECULATION_CTRL, which, PR_SPEC_ENABLE, 0, 0) < 0 && errno == EPERM, "what was forbidden for good is allowed again");
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&before, NULL, THREADS + 1);
    pthread_barrier_init(&after, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, (void *)(intptr_t)i);
    pthread_barrier_wait(&before);
    ready();
    pthread_barrier_wait(&after);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    return passed();
}
