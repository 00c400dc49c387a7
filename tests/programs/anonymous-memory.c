/* Private memory: filled, given back, never touched, read-only, inaccessible. */
#include "check.h"

int main(void) {
    size_t size = 48 << 20, page = 4096;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    fill(memory, 16 << 20, 7);
    fill(memory + (32 << 20), 8 << 20, 8);
    MUST(madvise(memory + (1 << 20), 64 * page, MADV_DONTNEED));
    MUST(mprotect(memory + (2 << 20), page, PROT_READ));
    MUST(mprotect(memory + (3 << 20), page, PROT_NONE));
    MUST(munmap(memory + (4 << 20), page));
    ready();
    CHECK(is_filled(memory + (32 << 20), 8 << 20, 8), "the second block changed");
    for (size_t i = 16 << 20; i < 32 << 20; i += page) CHECK(memory[i] == 0, "untouched memory is not zero");
    for (size_t i = 0; i < 64 * page; i++) CHECK(memory[(1 << 20) + i] == 0, "memory given back is not zero");
    MUST(mprotect(memory + (3 << 20), page, PROT_READ));
    char *again = mmap(memory + (4 << 20), page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(again == memory + (4 << 20), "the hole is not free");
    uint64_t *word = (uint64_t *)memory;
    for (size_t i = 0; i < (16 << 20) / 8; i++) {
        size_t at = i * 8;
        if (at >= 1 << 20 && at < (1 << 20) + 64 * page) continue;
        if (at >= 4 << 20 && at < (4 << 20) + page) continue;
        CHECK(word[i] == ((i + 7) * 0x9e3779b97f4a7c15u ^ 7), "byte %zu changed", at);
    }
    fill(memory + (20 << 20), 1 << 20, 9);
    CHECK(is_filled(memory + (20 << 20), 1 << 20, 9), "memory can't be written");
    return passed();
}
