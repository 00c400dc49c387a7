/* malloc's own bookkeeping under load: eight threads with arenas of their own, blocks of every size, freed and taken
 * again, trimmed; every byte is the one that was written. */
#include "check.h"
#include <malloc.h>
#include <stdatomic.h>

enum { THREADS = 8, BLOCKS = 400 };
static atomic_int rounds[THREADS];
static atomic_bool stop;
static atomic_int wrong;

static void *run(void *number) {
    uint64_t me = (uint64_t)number, random = me * 77 + 1;
    struct { char *at; size_t size; uint64_t seed; } blocks[BLOCKS] = {{0}};
    while (!stop) {
        for (int i = 0; i < 200; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            int which = (int)(random >> 33) % BLOCKS;
            if (blocks[which].at && !is_filled(blocks[which].at, blocks[which].size, blocks[which].seed)) wrong++;
            size_t size = (random >> 20 & 7) == 0 ? (random >> 40 & 0x3ffff) : (random >> 40 & 0xfff);
            blocks[which].at = realloc(blocks[which].at, size + 8);
            blocks[which].size = size & ~7ul;
            blocks[which].seed = random;
            fill(blocks[which].at, blocks[which].size, random);
        }
        if (me == 0) malloc_trim(0);
        rounds[me]++;
        sched_yield();
    }
    for (int i = 0; i < BLOCKS; i++) free(blocks[i].at);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    for (int i = 0; i < THREADS; i++)
        while (rounds[i] < 5) sched_yield();
    ready();
    int seen[THREADS];
    for (int i = 0; i < THREADS; i++) seen[i] = rounds[i];
    for (int i = 0; i < THREADS; i++)
        while (rounds[i] < seen[i] + 5) sched_yield();
    stop = true;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(wrong == 0, "%d blocks changed", wrong);
    return passed();
}
