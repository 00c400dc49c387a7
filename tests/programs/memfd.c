/* A memfd: contents, size, offset, seals, shared between descriptor and two mappings. */
#include "check.h"

int main(void) {
    int fd = MUST(memfd_create("roam test", MFD_ALLOW_SEALING | MFD_CLOEXEC));
    char text[] = "unsaved";
    write_all(fd, text, sizeof text);
    MUST(ftruncate(fd, 3 * 4096));
    char *one = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *two = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 2 * 4096);
    CHECK(one != MAP_FAILED && two != MAP_FAILED, "no mapping");
    strcpy(one + 2 * 4096, "tail");
    MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    ready();
    CHECK(strcmp(one, text) == 0 && strcmp(two, "tail") == 0, "contents changed");
    CHECK(lseek(fd, 0, SEEK_CUR) == sizeof text, "the offset changed");
    CHECK(fcntl(fd, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW), "seals are %d", fcntl(fd, F_GET_SEALS));
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
    CHECK(ftruncate(fd, 4096) < 0, "a sealed file shrinks");
    strcpy(one + 2 * 4096, "after");
    char back[6];
    CHECK(pread(fd, back, 6, 2 * 4096) == 6 && strcmp(back, "after") == 0, "mapping and file came apart");
    CHECK(strcmp(two, "after") == 0, "the two mappings came apart");
    return passed();
}
