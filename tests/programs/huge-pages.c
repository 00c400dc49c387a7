/* Transparent huge pages: contents, what was asked for, and holes punched into a huge page. */
#include "proc.h"

int main(void) {
    size_t huge = 2 << 20;
    char *room = mmap(NULL, 6 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED, "no memory");
    char *at = (char *)(((uintptr_t)room + huge - 1) & ~(huge - 1));
    bool asked = madvise(at, 4 * huge, MADV_HUGEPAGE) == 0;
    fill(at, 3 * huge, 8);
    MUST(madvise(at + huge + 16 * 4096, 4096, MADV_DONTNEED));
    MUST(mprotect(at + 2 * huge + 4096, 4096, PROT_READ));
    ready();
    CHECK(is_filled(at, huge + 16 * 4096, 8), "contents changed");
    for (int i = 0; i < 4096; i++) CHECK(at[huge + 16 * 4096 + i] == 0, "the hole was filled");
    CHECK(is_filled(at, 8, 8) && vm_flag(at, "hg") == asked, "huge pages are not wanted any more");
    CHECK(at[3 * huge] == 0 && at[4 * huge - 1] == 0, "what was never touched is not zero");
    CHECK(smaps_number(at + 3 * huge, "Size") > 0, "the rest is gone");
    uint64_t *word = (uint64_t *)(at + 2 * huge);
    for (uint64_t i = 0; i < huge / 8; i++)
        CHECK(word[i] == ((i + 2 * huge / 8 + 8) * 0x9e3779b97f4a7c15u ^ 8), "the split page changed");
    return passed();
}
