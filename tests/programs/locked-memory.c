/* mlock, mlock2(MLOCK_ONFAULT) and munlock: which memory is locked, and how much in all. */
#include "proc.h"

int main(void) {
    char *all = mmap(NULL, 48 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED, "no memory");
    fill(all, 48 * 4096, 4);
    MUST(mlock(all, 8 * 4096));
    char *lazy = all + 16 * 4096;
    MUST(madvise(lazy, 16 * 4096, MADV_DONTNEED));
    MUST(mlock2(lazy, 16 * 4096, MLOCK_ONFAULT));
    lazy[0] = 7;
    MUST(mlock(all + 40 * 4096, 8 * 4096));
    MUST(munlock(all + 40 * 4096, 8 * 4096));
    CHECK(vm_flag(all, "lo") && vm_flag(lazy, "lo") && !vm_flag(all + 40 * 4096, "lo"), "the test itself");
    long locked = status_number("VmLck"), resident = smaps_number(lazy, "Rss");
    CHECK(locked >= 96, "the test itself");
    ready();
    CHECK(vm_flag(all, "lo"), "locked memory is locked no more");
    CHECK(vm_flag(lazy, "lo"), "memory locked on fault is locked no more");
    CHECK(!vm_flag(all + 8 * 4096, "lo") && !vm_flag(all + 40 * 4096, "lo"), "more is locked than was");
    CHECK(status_number("VmLck") == locked, "%ld kB are locked, were %ld", status_number("VmLck"), locked);
    CHECK(smaps_number(lazy, "Rss") == resident, "memory locked on fault was filled: %ld kB", smaps_number(lazy, "Rss"));
    CHECK(is_filled(all, 16 * 4096, 4) && lazy[0] == 7 && lazy[4096] == 0, "contents changed");
    MUST(munlock(all, 8 * 4096));
    return passed();
}
