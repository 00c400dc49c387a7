/* A mapped file in whose place another was put (as an upgrade does): the mapping shows the old one, written
 * pages included, and the path the new one. */
#include "check.h"

int main(void) {
    char *path = in_folder("library"), *next = in_folder("library.new");
    char *old = malloc(32 * 4096);
    fill(old, 32 * 4096, 1);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    write_all(fd, old, 32 * 4096);
    char *text = mmap(NULL, 16 * 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    char *data = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 16 * 4096);
    CHECK(text != MAP_FAILED && data != MAP_FAILED, "no mapping");
    close(fd);
    data[0] ^= 1;
    data[5 * 4096] ^= 1;
    fd = MUST(open(next, O_RDWR | O_CREAT, 0600));
    write_all(fd, "something else", 14);
    close(fd);
    MUST(rename(next, path));
    ready();
    CHECK(memcmp(text, old, 16 * 4096) == 0, "the mapping shows the new file");
    old[16 * 4096] ^= 1;
    old[21 * 4096] ^= 1;
    CHECK(memcmp(data, old + 16 * 4096, 16 * 4096) == 0, "written pages are lost");
    fd = MUST(open(path, O_RDONLY));
    char now[32];
    CHECK(read(fd, now, 32) == 14 && memcmp(now, "something else", 14) == 0, "the new file changed");
    return passed();
}
