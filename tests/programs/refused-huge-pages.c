/* Pages of the machine's pool of huge pages: refused, whether mapped or only held by a descriptor. */
#include "check.h"

int main(void) {
    /* NORESERVE: also where the pool is empty. */
    char *map = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
    int fd = memfd_create("huge", MFD_HUGETLB);
    CHECK(map != MAP_FAILED || fd >= 0, "this kernel has no huge pages");
    expect_refusal("huge pages");
    ready();
    CHECK(map == MAP_FAILED || munmap(map, 2 << 20) == 0, "the mapping is gone");
    CHECK(fd < 0 || fcntl(fd, F_GETFD) >= 0, "the descriptor is gone");
    return passed();
}
