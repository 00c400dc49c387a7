/* Memory that is mapped, moved, split and unmapped all the time. */
#include "check.h"
#include <stdatomic.h>

static atomic_bool stop;
static _Atomic(uint64_t) rounds;

static void *run(void *number) {
    uint64_t seed = (uintptr_t)number + 1;
    while (!stop) {
        seed++;
        size_t size = (1 + seed % 16) * 4096;
        char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(map != MAP_FAILED, "no memory");
        fill(map, size, seed);
        map = mremap(map, size, size * 3, MREMAP_MAYMOVE);
        CHECK(map != MAP_FAILED, "mremap");
        MUST(mprotect(map, 4096, PROT_READ));
        fill(map + size, size, seed + 1);
        CHECK(is_filled(map, size, seed) && is_filled(map + size, size, seed + 1), "contents changed");
        for (size_t i = 0; i < size; i++) CHECK(map[2 * size + i] == 0, "new memory is not zero");
        MUST(munmap(map, size * 3));
        rounds++;
    }
    return NULL;
}

int main(void) {
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    while (rounds < 100) sched_yield();
    ready();
    uint64_t seen = rounds;
    while (rounds < seen + 100) sched_yield();
    stop = true;
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return passed();
}
