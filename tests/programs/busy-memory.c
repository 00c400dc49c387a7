/* Memory that is written all the time while it is being copied: every page is whole and its newest. */
#include "check.h"
#include <stdatomic.h>

enum { PAGES = 8192, WORDS = 512 };
static uint64_t *memory;
static uint64_t newest[PAGES];
static atomic_bool stop;
static _Atomic(uint64_t) writes;

static void *run(void *unused) {
    (void)unused;
    uint64_t random = 88172645463325252u;
    while (!stop) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t page = random % PAGES;
        uint64_t value = ++newest[page];
        for (size_t i = 0; i < WORDS; i += 64) memory[page * WORDS + i] = value * 31 + page + i;
        writes++;
    }
    return NULL;
}

int main(void) {
    memory = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (writes < 100000) sched_yield();
    ready();
    uint64_t seen = writes;
    while (writes < seen + 1000) sched_yield();
    stop = true;
    pthread_join(thread, NULL);
    for (size_t page = 0; page < PAGES; page++)
        for (size_t i = 0; i < WORDS; i += 64)
            CHECK(newest[page] == 0 || memory[page * WORDS + i] == newest[page] * 31 + page + i, "page %zu is an old one", page);
    return passed();
}
