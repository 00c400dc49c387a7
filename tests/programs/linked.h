/* What a program does whatever way it is linked: threads, variables of each thread, the heap, floating point, time by
 * the kernel's shared page, a new program. */
#include "check.h"
#include <math.h>

static _Thread_local int own;
static int data = 5, zero;
static const char constant[] = "constant";
static pthread_barrier_t before, after;

static void *run(void *number) {
    own = (int)(intptr_t)number;
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    return (void *)(intptr_t)(own * 2);
}

int main(int count, char **words) {
    (void)words;
    if (count > 1) return 17;
    pthread_t threads[3];
    pthread_barrier_init(&before, NULL, 4);
    pthread_barrier_init(&after, NULL, 4);
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, run, (void *)(intptr_t)(i + 1));
    pthread_barrier_wait(&before);
    char *heap = malloc(1 << 20), *small = strdup("small");
    fill(heap, 1 << 20, 1);
    data = 6, own = 9;
    int64_t real = clock_ms(CLOCK_REALTIME), then = now_ms();
    ready();
    CHECK(data == 6 && zero == 0 && own == 9 && strcmp(constant, "constant") == 0, "variables changed");
    CHECK(is_filled(heap, 1 << 20, 1) && strcmp(small, "small") == 0, "the heap changed");
    CHECK(clock_ms(CLOCK_REALTIME) >= real && now_ms() >= then, "time runs backwards");
    volatile double two = 2;
    CHECK(fabs(sqrt(two) * sqrt(two) - 2) < 1e-9, "arithmetic changed");
    pthread_barrier_wait(&after);
    for (int i = 0; i < 3; i++) {
        void *answer;
        pthread_join(threads[i], &answer);
        CHECK(answer == (void *)(intptr_t)(2 * (i + 1)), "thread %d answers %ld", i, (long)answer);
    }
    free(heap);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl("/proc/self/exe", "again", "x", NULL);
        _exit(9);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 17, "a new program ended with %x", status);
    return passed();
}
