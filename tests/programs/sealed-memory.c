/* mseal (Linux 6.10): what is sealed can't be unmapped, moved or given other rights. Older kernels have none. */
#include "faults.h"
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

int main(void) {
    char *memory = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    fill(memory, 16 * 4096, 6);
    MUST(mprotect(memory + 4 * 4096, 4 * 4096, PROT_READ));
    bool has = syscall(SYS_mseal, memory + 4 * 4096, 4 * 4096, 0) == 0;
    CHECK(has || errno == ENOSYS, "the test itself");
    ready();
    CHECK(is_filled(memory, 16 * 4096, 6), "contents changed");
    if (has) {
        char *sealed = memory + 4 * 4096;
        CHECK(mprotect(sealed, 4096, PROT_READ | PROT_WRITE) < 0 && errno == EPERM, "its rights can be changed");
        CHECK(munmap(sealed + 4096, 4096) < 0 && errno == EPERM, "it can be unmapped");
        CHECK(mremap(sealed, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, memory + 12 * 4096) == MAP_FAILED, "it can be moved");
    }
    MUST(mprotect(memory, 4096, PROT_READ));
    MUST(munmap(memory + 8 * 4096, 4096));
    return passed();
}
