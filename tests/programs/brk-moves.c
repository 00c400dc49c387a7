/* The end of the heap goes up, down and up again; what was given back is zero when it returns. */
#include "check.h"
#include <malloc.h>

int main(void) {
    /* malloc keeps away from the end of the heap. */
    CHECK(mallopt(M_MMAP_THRESHOLD, 1) == 1, "malloc does not obey");
    char *start = sbrk(0);
    CHECK(brk(start + 64 * 4096) == 0, "the heap does not grow");
    fill(start, 64 * 4096, 5);
    CHECK(brk(start + 16 * 4096 + 100) == 0, "the heap does not shrink");
    ready();
    CHECK(sbrk(0) == start + 16 * 4096 + 100, "the heap ends at %p, not %p", sbrk(0), (void *)(start + 16 * 4096 + 100));
    CHECK(is_filled(start, 16 * 4096, 5), "contents changed");
    CHECK(brk(start + 128 * 4096) == 0, "the heap does not grow any more");
    for (char *at = start + 17 * 4096; at < start + 128 * 4096; at++) CHECK(*at == 0, "given back and not zero");
    CHECK(brk(start) == 0 && sbrk(0) == start, "the heap does not shrink any more");
    return passed();
}
