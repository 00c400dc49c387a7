/* Sleeps that a freeze interrupts go on and end neither early nor with EINTR. */
#include "check.h"

static int64_t slept, until;
static int answers[2] = {-1, -1};

static void *relative(void *unused) {
    (void)unused;
    int64_t start = now_ms();
    struct timespec left = {-1, -1};
    answers[0] = nanosleep(&(struct timespec){4, 0}, &left);
    slept = now_ms() - start;
    return NULL;
}

static void *absolute(void *unused) {
    (void)unused;
    until = now_ms() + 4000;
    answers[1] = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){until / 1000, until % 1000 * 1000000}, NULL);
    until = now_ms() - until;
    return NULL;
}

int main(void) {
    pthread_t one, two;
    pthread_create(&one, NULL, relative, NULL);
    pthread_create(&two, NULL, absolute, NULL);
    ready();
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    CHECK(answers[0] == 0, "nanosleep was interrupted");
    CHECK(slept >= 3999 && slept < 60000, "it slept for %lld ms", (long long)slept);
    CHECK(answers[1] == 0, "clock_nanosleep: %d", answers[1]);
    CHECK(until >= -1 && until < 60000, "it woke %lld ms late", (long long)until);
    return passed();
}
