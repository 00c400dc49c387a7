/* The heap that grows by brk. */
#include "check.h"

int main(void) {
    char *start = sbrk(1 << 20);
    CHECK(start != (void *)-1, "no heap");
    start = (char *)(((uintptr_t)start + 7) & ~(uintptr_t)7);
    fill(start, (1 << 20) - 8, 3);
    void *end = sbrk(0);
    ready();
    /* malloc may have grown it a little since. */
    CHECK((char *)sbrk(0) >= (char *)end, "the end of the heap moved back");
    end = sbrk(0);
    CHECK(is_filled(start, (1 << 20) - 8, 3), "the heap changed");
    CHECK(sbrk(1 << 20) == end, "the heap grows elsewhere");
    fill(end, 1 << 20, 4);
    CHECK(is_filled(end, 1 << 20, 4), "the new heap can't be written");
    CHECK(brk(end) == 0, "the heap does not shrink");
    return passed();
}
