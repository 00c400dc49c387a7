/* The main stack: its contents, and that it still grows by itself. */
#include "check.h"

static __attribute__((noinline)) uint64_t deep(int depth) {
    volatile char room[8192];
    memset((char *)room, depth & 0x7f, sizeof room);
    uint64_t below = depth > 0 ? deep(depth - 1) : 0;
    return below + (uint64_t)room[depth % 8192];
}

int main(void) {
    uint64_t block[4096];
    fill(block, sizeof block, 5);
    uint64_t small = deep(10);
    ready();
    CHECK(is_filled(block, sizeof block, 5), "the stack changed");
    CHECK(deep(10) == small, "the same call gives another answer");
    CHECK(deep(600) > 0, "the stack does not grow");
    return passed();
}
