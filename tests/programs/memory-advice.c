/* What madvise said of memory stays: read ahead, huge pages, merging, core dumps. */
#include "proc.h"

static const struct { int advice; const char *flag; } all[] = {
    {MADV_SEQUENTIAL, "sr"}, {MADV_RANDOM, "rr"}, {MADV_DONTDUMP, "dd"}, {MADV_HUGEPAGE, "hg"},
    {MADV_NOHUGEPAGE, "nh"}, {MADV_MERGEABLE, "mg"}, {MADV_DONTFORK, "dc"}, {MADV_WIPEONFORK, "wf"},
};
enum { COUNT = sizeof all / sizeof *all };

int main(void) {
    char *at[COUNT];
    bool has[COUNT];
    /* Wide enough apart that no two become one. */
    for (int i = 0; i < COUNT; i++) {
        at[i] = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(at[i] != MAP_FAILED, "no memory");
        fill(at[i], 8 * 4096, (uint64_t)i);
        /* EINVAL: this kernel was built without it. */
        has[i] = madvise(at[i] + 4096, 4 * 4096, all[i].advice) == 0;
        CHECK(has[i] == vm_flag(at[i] + 4096, all[i].flag), "the test itself: %s", all[i].flag);
    }
    ready();
    for (int i = 0; i < COUNT; i++) {
        CHECK(vm_flag(at[i] + 4096, all[i].flag) == has[i], "%s is lost", all[i].flag);
        CHECK(!vm_flag(at[i] + 6 * 4096, all[i].flag), "%s is in more places", all[i].flag);
        CHECK(is_filled(at[i], 8 * 4096, (uint64_t)i), "contents changed");
    }
    return passed();
}
