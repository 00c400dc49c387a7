/* A file that has no name any more, open and mapped; and one renamed while open. */
#include "check.h"

int main(void) {
    char *path = in_folder("gone"), *from = in_folder("from"), *to = in_folder("to");
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    char block[3 * 4096];
    fill(block, sizeof block, 12);
    write_all(fd, block, sizeof block);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    CHECK(map != MAP_FAILED, "no mapping");
    MUST(unlink(path));
    int renamed = MUST(open(from, O_RDWR | O_CREAT, 0600));
    write_all(renamed, "named", 5);
    MUST(rename(from, to));
    ready();
    char back[3 * 4096];
    CHECK(pread(fd, back, sizeof back, 0) == sizeof back && memcmp(block, back, sizeof back) == 0, "contents changed");
    CHECK(access(path, F_OK) < 0, "the name is back");
    map[0] = 99;
    CHECK(pread(fd, back, 1, 4096) == 1 && back[0] == 99, "mapping and file came apart");
    struct stat stat;
    MUST(fstat(fd, &stat));
    CHECK(stat.st_size == sizeof block, "the size changed");
    write_all(renamed, "!", 1);
    int again = MUST(open(to, O_RDONLY));
    CHECK(read(again, back, 16) == 6 && memcmp(back, "named!", 6) == 0, "the renamed file is another");
    return passed();
}
