/* Sealed memfds: no growing, no shrinking, no writing; and one that the first mapping may still write. */
#include "check.h"

static int sealed(const char *name, int seals, char **map) {
    int fd = MUST(memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC));
    MUST(ftruncate(fd, 4 * 4096));
    char *at = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED, "no mapping");
    fill(at, 4 * 4096, (uint64_t)seals);
    if (map) *map = at;
    else MUST(munmap(at, 4 * 4096));
    MUST(fcntl(fd, F_ADD_SEALS, seals));
    return fd;
}

int main(void) {
    enum { FUTURE = 0x10 };
    char *map, block[4 * 4096];
    int sizes = sealed("sizes", F_SEAL_GROW | F_SEAL_SHRINK, NULL);
    int writes = sealed("writes", F_SEAL_WRITE | F_SEAL_SEAL, NULL);
    int future = sealed("future", FUTURE, &map);
    int none = MUST(memfd_create("none", MFD_CLOEXEC));
    int was = MUST(fcntl(none, F_GET_SEALS));
    ready();
    CHECK(fcntl(sizes, F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_SHRINK), "seals are %x", fcntl(sizes, F_GET_SEALS));
    CHECK(ftruncate(sizes, 8 * 4096) < 0 && errno == EPERM, "it grows");
    CHECK(ftruncate(sizes, 4096) < 0 && errno == EPERM, "it shrinks");
    CHECK(pwrite(sizes, "x", 1, 0) == 1, "it can't be written");
    CHECK(pwrite(writes, "x", 1, 0) < 0 && errno == EPERM, "it can be written");
    CHECK(fcntl(writes, F_ADD_SEALS, F_SEAL_GROW) < 0 && errno == EPERM, "it takes seals");
    MUST(pread(writes, block, sizeof block, 0));
    CHECK(is_filled(block, sizeof block, F_SEAL_WRITE | F_SEAL_SEAL), "contents changed");
    map[9] = 99;
    CHECK(pread(future, block, 16, 0) == 16 && block[9] == 99, "the old mapping is apart");
    CHECK(pwrite(future, "x", 1, 0) < 0 && errno == EPERM, "it can be written by the descriptor");
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED, "a new mapping can write");
    CHECK(fcntl(none, F_GET_SEALS) == was, "the unsealable has seals %x, had %x", fcntl(none, F_GET_SEALS), was);
    return passed();
}
