/* A stack that is full is told by SIGSEGV on the alternate stack, for the main thread and for another, at the limits
 * that were set: not earlier, not later, not into other memory. */
#include "check.h"
#include <setjmp.h>
#include <sys/resource.h>

static __thread sigjmp_buf back;
static __thread volatile int depth;
static __thread char alternate[65536];

static void on_fault(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static __attribute__((noinline, noclone)) int deeper(int n) {
    volatile char room[4096];
    room[0] = (char)n;
    depth = n;
    int below = n < 1000000 ? deeper(n + 1) : 0;
    return below + room[0];
}

static int overflow(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    MUST(sigaltstack(&stack, NULL));
    depth = 0;
    if (sigsetjmp(back, 1) == 0) deeper(1);
    return depth;
}

static pthread_barrier_t before, after;
static void *run(void *unused) {
    (void)unused;
    int first = overflow();
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    int second = overflow();
    CHECK(abs(second - first) <= 2, "the thread's stack has %d pages, had %d", second, first);
    return NULL;
}

int main(void) {
    struct rlimit limit = {2 << 20, RLIM_INFINITY};
    MUST(getrlimit(RLIMIT_STACK, &limit));
    limit.rlim_cur = 2 << 20;
    MUST(setrlimit(RLIMIT_STACK, &limit));
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    MUST(sigaction(SIGSEGV, &action, NULL));
    pthread_t thread;
    pthread_attr_t size;
    pthread_attr_init(&size);
    pthread_attr_setstacksize(&size, 512 << 10);
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_create(&thread, &size, run, NULL);
    pthread_barrier_wait(&before);
    ready();
    int depth_now = overflow();
    CHECK(depth_now > 200 && depth_now < 600, "the main stack has %d pages of 4 KiB, with a limit of 2 MiB", depth_now);
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    int again = overflow();
    CHECK(abs(again - depth_now) <= 2, "the second time it has %d", again);
    return passed();
}
