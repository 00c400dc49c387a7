/* mlockall(MCL_FUTURE | MCL_ONFAULT): what is mapped later is locked as well. */
#include "proc.h"

int main(void) {
    MUST(mlockall(MCL_FUTURE | MCL_ONFAULT));
    char *before = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(before != MAP_FAILED && vm_flag(before, "lo"), "the test itself");
    fill(before, 4 * 4096, 1);
    ready();
    CHECK(vm_flag(before, "lo") && is_filled(before, 4 * 4096, 1), "what was locked is locked no more");
    char *after = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(after != MAP_FAILED, "no mapping");
    CHECK(vm_flag(after, "lo"), "a new mapping is not locked");
    after[0] = 1;
    CHECK(smaps_number(after, "Rss") <= 16, "a new mapping was filled at once");
    MUST(munlockall());
    char *free = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(!vm_flag(free, "lo"), "munlockall does not end it");
    return passed();
}
