/* Address space reserved by the hundred GiB, as Go, Java and the sanitizers do, with a few pages in use. */
#include "proc.h"

int main(void) {
    size_t gib = 1ul << 30;
    char *none = mmap(NULL, 512 * gib, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *sparse = mmap(NULL, 256 * gib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *small = mmap(NULL, gib / 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(none != MAP_FAILED && sparse != MAP_FAILED && small != MAP_FAILED, "no room");
    char *heap = none + 100 * gib;
    MUST(mprotect(heap, 64 << 20, PROT_READ | PROT_WRITE));
    fill(heap, 1 << 20, 1);
    for (size_t i = 0; i < 256; i += 16) fill(sparse + i * gib, 4096, i);
    long resident = status_number("VmRSS"), size = status_number("VmSize");
    ready();
    CHECK(is_filled(heap, 1 << 20, 1) && heap[(64 << 20) - 1] == 0, "the heap changed");
    for (size_t i = 0; i < 256; i += 16) CHECK(is_filled(sparse + i * gib, 4096, i), "page at %zu GiB changed", i);
    CHECK(sparse[5 * gib] == 0, "what was never touched is not zero");
    CHECK(vm_flag(none, "nr") && vm_flag(sparse, "nr") && vm_flag(small, "nr"), "reserved memory is accounted for now");
    CHECK(status_number("VmRSS") < resident + 4096, "%ld kB are resident, were %ld", status_number("VmRSS"), resident);
    CHECK(labs(status_number("VmSize") - size) < 4096, "the address space has %ld kB, had %ld", status_number("VmSize"), size);
    MUST(mprotect(none + 300 * gib, 4096, PROT_READ | PROT_WRITE));
    none[300 * gib] = 1;
    return passed();
}
