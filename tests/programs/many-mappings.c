/* Ten thousand mappings, every other one of another protection. */
#include "faults.h"

enum { COUNT = 10000 };

int main(void) {
    catch_faults();
    char *memory = mmap(NULL, (size_t)COUNT * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    for (int i = 0; i < COUNT; i += 2) {
        *(int *)(memory + (size_t)i * 4096) = i;
        MUST(mprotect(memory + (size_t)i * 4096, 4096, PROT_READ));
    }
    ready();
    for (int i = 0; i < COUNT; i++) {
        char *page = memory + (size_t)i * 4096;
        CHECK(*(int *)page == (i % 2 ? 0 : i), "page %d changed", i);
        CHECK(writing(page) == (i % 2 ? 0 : SIGSEGV), "page %d has another protection", i);
    }
    return passed();
}
