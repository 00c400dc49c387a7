/* A file mapped privately: some pages written, some still the file's. */
#include "check.h"

int main(void) {
    size_t size = 64 * 4096;
    char *path = in_folder("data");
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    char *block = malloc(size);
    fill(block, size, 1);
    write_all(fd, block, size);
    char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *tail = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 63 * 4096);
    CHECK(map != MAP_FAILED && tail != MAP_FAILED, "no mapping");
    close(fd);
    fill(map + 10 * 4096, 4096, 2);
    ready();
    CHECK(is_filled(map + 10 * 4096, 4096, 2), "the written page is lost");
    CHECK(memcmp(map, block, 10 * 4096) == 0 && memcmp(map + 11 * 4096, block + 11 * 4096, 53 * 4096) == 0,
          "the file's pages changed");
    CHECK(memcmp(tail, block + 63 * 4096, 4096) == 0, "the mapping's offset is lost");
    fill(map + 20 * 4096, 4096, 3);
    fd = MUST(open(path, O_RDONLY));
    char *now = malloc(size);
    read_all(fd, now, size);
    CHECK(memcmp(now, block, size) == 0, "a private write reached the file");
    return passed();
}
