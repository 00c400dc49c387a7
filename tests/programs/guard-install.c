/* Guard pages inside a mapping (MADV_GUARD_INSTALL, Linux 6.13), as newer C libraries put below stacks.
 * Where the kernel has none, mprotect does their work. */
#include "faults.h"
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

int main(void) {
    catch_faults();
    char *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    fill(memory, 64 * 4096, 9);
    bool has = madvise(memory + 8 * 4096, 4 * 4096, MADV_GUARD_INSTALL) == 0;
    if (!has) MUST(mprotect(memory + 8 * 4096, 4 * 4096, PROT_NONE));
    CHECK(reading(memory + 8 * 4096) == SIGSEGV, "the test itself");
    ready();
    CHECK(is_filled(memory, 8 * 4096, 9), "what is below changed");
    uint64_t *above = (uint64_t *)(memory + 12 * 4096), first = (uint64_t)(12 * 4096 / 8);
    for (uint64_t i = 0; i < 52 * 512; i++)
        CHECK(above[i] == ((first + i + 9) * 0x9e3779b97f4a7c15u ^ 9), "what is above changed");
    for (int i = 8; i < 12; i++) {
        CHECK(reading(memory + i * 4096) == SIGSEGV, "guard page %d can be read", i);
        CHECK(writing(memory + i * 4096) == SIGSEGV, "guard page %d can be written", i);
    }
    if (has) {
        MUST(madvise(memory + 8 * 4096, 4 * 4096, MADV_GUARD_REMOVE));
        CHECK(reading(memory + 9 * 4096) == 0 && memory[9 * 4096] == 0, "a guard can't be removed");
    }
    return passed();
}
