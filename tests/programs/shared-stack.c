/* Threads whose stacks lie where they like: in a memfd that is mapped shared, and in the heap. */
#include "check.h"

static pthread_barrier_t before, after;

static void *run(void *seed) {
    uint64_t block[256];
    fill(block, sizeof block, (uint64_t)seed);
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(is_filled(block, sizeof block, (uint64_t)seed), "stack %lu changed", (unsigned long)seed);
    return block[7] ? seed : NULL;
}

int main(void) {
    size_t size = 256 << 10;
    int fd = MUST(memfd_create("stack", MFD_CLOEXEC));
    MUST(ftruncate(fd, (off_t)size));
    void *stacks[2] = {mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), aligned_alloc(4096, size)};
    CHECK(stacks[0] != MAP_FAILED && stacks[1], "no stack");
    pthread_barrier_init(&before, NULL, 3);
    pthread_barrier_init(&after, NULL, 3);
    pthread_t threads[2];
    for (uint64_t i = 0; i < 2; i++) {
        pthread_attr_t where;
        pthread_attr_init(&where);
        pthread_attr_setstack(&where, stacks[i], size);
        CHECK(pthread_create(&threads[i], &where, run, (void *)(i + 1)) == 0, "no thread");
    }
    pthread_barrier_wait(&before);
    ready();
    pthread_barrier_wait(&after);
    for (uint64_t i = 0; i < 2; i++) {
        void *answer;
        pthread_join(threads[i], &answer);
        CHECK(answer == (void *)(i + 1), "thread %lu answers %p", (unsigned long)i, answer);
    }
    return passed();
}
