/* Memory that was called cold, or paged out, is there when it is wanted: MADV_COLD, MADV_PAGEOUT, MADV_FREE. */
#include "check.h"

int main(void) {
    char *memory = mmap(NULL, 96 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared = mmap(NULL, 32 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && shared != MAP_FAILED, "no memory");
    fill(memory, 96 * 4096, 1);
    fill(shared, 32 * 4096, 2);
    MUST(madvise(memory, 32 * 4096, MADV_COLD));
    MUST(madvise(memory + 32 * 4096, 32 * 4096, MADV_PAGEOUT));
    MUST(madvise(shared, 32 * 4096, MADV_PAGEOUT));
    MUST(madvise(memory + 64 * 4096, 32 * 4096, MADV_FREE));
    ready();
    CHECK(is_filled(memory, 64 * 4096, 1), "contents changed");
    CHECK(is_filled(shared, 32 * 4096, 2), "shared contents changed");
    /* What was freed is either still there or zero, page by page. */
    for (int i = 64; i < 96; i++) {
        uint64_t *word = (uint64_t *)(memory + i * 4096), wanted = ((uint64_t)i * 512 + 1) * 0x9e3779b97f4a7c15u ^ 1;
        CHECK(word[0] == wanted || word[0] == 0, "freed page %d holds something else", i);
    }
    fill(memory + 64 * 4096, 32 * 4096, 3);
    CHECK(is_filled(memory + 64 * 4096, 32 * 4096, 3), "freed memory does not hold what is written");
    return passed();
}
