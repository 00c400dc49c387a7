/* One file mapped many times, at offsets in no order, privately and shared, and once made so by
 * remap_file_pages. */
#include "check.h"

enum { PAGES = 64 };

int main(void) {
    char *block = malloc(PAGES * 4096);
    for (int i = 0; i < PAGES; i++) fill(block + i * 4096, 4096, (uint64_t)i + 100);
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    write_all(fd, block, PAGES * 4096);
    /* Neighbours in memory are far apart in the file, but for a few that the kernel may join. */
    char *room = mmap(NULL, PAGES * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED, "no room");
    int page[PAGES];
    for (int i = 0; i < PAGES; i++) {
        page[i] = i < 8 ? i : i * 37 % PAGES;
        char *at = mmap(room + i * 4096, 4096, PROT_READ | PROT_WRITE, (i % 3 ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED,
                        fd, page[i] * 4096);
        CHECK(at != MAP_FAILED, "no mapping");
    }
    char *turned = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(turned != MAP_FAILED, "no mapping");
    MUST(remap_file_pages(turned, 4096, 0, 3, 0));
    MUST(remap_file_pages(turned + 3 * 4096, 4096, 0, 0, 0));
    close(fd);
    ready();
    for (int i = 0; i < PAGES; i++)
        CHECK(is_filled(room + i * 4096, 4096, (uint64_t)page[i] + 100), "piece %d shows another page", i);
    CHECK(is_filled(turned, 4096, 103) && is_filled(turned + 4096, 4096, 101) && is_filled(turned + 3 * 4096, 4096, 100),
          "turned pages turned back");
    room[10 * 4096] ^= 1;
    fd = MUST(open(in_folder("data"), O_RDONLY));
    char byte;
    CHECK(pread(fd, &byte, 1, page[10] * 4096) == 1 && byte == room[10 * 4096], "a shared piece is the file's no more");
    room[9 * 4096] ^= 1;
    CHECK(pread(fd, &byte, 1, page[9] * 4096) == 1 && byte != room[9 * 4096], "a private piece reached the file");
    return passed();
}
