/* Names that a program gave to its private memory (PR_SET_VMA_ANON_NAME), where the kernel keeps them, and that those
 * of shared memory do no harm. */
#include "proc.h"
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

int main(void) {
    char *own = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *shared = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(own != MAP_FAILED && shared != MAP_FAILED, "no memory");
    fill(own, 8 * 4096, 1);
    fill(shared, 8 * 4096, 2);
    bool has = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, own + 4096, 4096, "a private one") == 0;
    if (has) MUST(prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, shared, 8 * 4096, "a shared one"));
    ready();
    CHECK(is_filled(own, 8 * 4096, 1) && is_filled(shared, 8 * 4096, 2), "contents changed");
    CHECK(!has || strstr(smaps_of(own + 4096), "[anon:a private one]"), "the private name is lost");
    CHECK(!has || !strstr(smaps_of(own), "[anon"), "the name is in more places");
    return passed();
}
