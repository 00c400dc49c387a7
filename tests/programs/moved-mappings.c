/* Mappings that mremap moved, made longer, made shorter, and left behind empty (MREMAP_DONTUNMAP). */
#include "check.h"

int main(void) {
    char *a = mmap(NULL, 32 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(a, 32 * 4096, 1);
    char *place = mmap(NULL, 128 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *moved = mremap(a, 32 * 4096, 64 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place + 16 * 4096);
    char *b = mmap(NULL, 32 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(b, 32 * 4096, 2);
    MUST(mremap(b, 32 * 4096, 8 * 4096, 0));
    char *c = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(c, 8 * 4096, 3);
    char *left = mremap(c, 8 * 4096, 8 * 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    CHECK(moved != MAP_FAILED && left != MAP_FAILED && left != c, "the test itself");
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 32 * 4096));
    char *file = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8 * 4096);
    fill(file, 8 * 4096, 4);
    char *longer = mremap(file, 8 * 4096, 16 * 4096, MREMAP_MAYMOVE);
    CHECK(longer != MAP_FAILED, "the test itself");
    /* The kernel may have put something else there. */
    unsigned char there;
    bool cut = mincore(b + 8 * 4096, 4096, &there) < 0;
    ready();
    CHECK(is_filled(moved, 32 * 4096, 1) && moved[32 * 4096] == 0 && moved[64 * 4096 - 1] == 0, "the moved one changed");
    CHECK(is_filled(b, 8 * 4096, 2), "the shorter one changed");
    CHECK(!cut || (mincore(b + 8 * 4096, 4096, &there) < 0 && errno == ENOMEM), "what was cut off is back");
    CHECK(is_filled(left, 8 * 4096, 3), "the moved contents changed");
    for (int i = 0; i < 8 * 4096; i++) CHECK(c[i] == 0, "what was left behind is not empty");
    CHECK(is_filled(longer, 8 * 4096, 4), "the file's mapping changed");
    longer[15 * 4096] = 9;
    char byte;
    CHECK(pread(fd, &byte, 1, 23 * 4096) == 1 && byte == 9, "the longer mapping is not the file's");
    char *again = mremap(moved, 64 * 4096, 96 * 4096, MREMAP_MAYMOVE);
    CHECK(again != MAP_FAILED && is_filled(again, 32 * 4096, 1), "it can't be moved any more");
    return passed();
}
