/* Mappings with gaps: at the lowest address that is allowed, at the highest, around every round number that
 * somebody may like, and far from everything. */
#include "check.h"

static const uintptr_t places[] = {
    0x10000, 0x200000, 0x7fff0000, 0x80000000, 0xfffff000, 0x100000000, 0x10000000000, 0x5f0000000000,
    0x600000000000, 0x600000040000, 0x600001000000, 0x6000ffff0000, 0x610000000000, 0x7ffffffde000,
};
enum { COUNT = sizeof places / sizeof *places };

int main(void) {
    char *at[COUNT];
    for (int i = 0; i < COUNT; i++) {
        at[i] = mmap((void *)places[i], 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        /* Something may be there already, and the lowest addresses may be forbidden. */
        if (at[i] != (char *)places[i]) at[i] = NULL;
        else fill(at[i], 4096, (uint64_t)i);
    }
    CHECK(at[0] && at[8], "the test itself");
    ready();
    for (int i = 0; i < COUNT; i++)
        CHECK(!at[i] || is_filled(at[i], 4096, (uint64_t)i), "what was at %lx changed", places[i]);
    unsigned char there;
    CHECK(mincore((void *)0x600010000000, 4096, &there) < 0 && errno == ENOMEM, "something was left at %lx", 0x600010000000);
    CHECK(mincore((void *)0x20000, 4096, &there) < 0 && errno == ENOMEM, "something was left at 20000");
    for (int i = 0; i < COUNT; i++)
        if (at[i]) MUST(munmap(at[i], 4096));
    return passed();
}
