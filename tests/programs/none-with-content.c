/* Memory that nobody may touch keeps what was written to it, and shows it when it may be touched again. */
#include "faults.h"

int main(void) {
    catch_faults();
    char *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && shared != MAP_FAILED, "no memory");
    fill(memory, 64 * 4096, 6);
    fill(shared, 8 * 4096, 7);
    MUST(mprotect(memory, 64 * 4096, PROT_NONE));
    MUST(mprotect(shared, 8 * 4096, PROT_NONE));
    CHECK(reading(memory + 4096) == SIGSEGV && reading(shared) == SIGSEGV, "the test itself");
    ready();
    CHECK(reading(memory + 4096) == SIGSEGV && reading(shared) == SIGSEGV, "it can be read");
    MUST(mprotect(memory, 64 * 4096, PROT_READ));
    MUST(mprotect(shared, 8 * 4096, PROT_READ | PROT_WRITE));
    CHECK(is_filled(memory, 64 * 4096, 6), "private contents are lost");
    CHECK(is_filled(shared, 8 * 4096, 7), "shared contents are lost");
    return passed();
}
