/* POSIX shared memory: a file in /dev/shm, mapped and by name. */
#include "check.h"

int main(void) {
    shm_unlink("/roam-test");
    int fd = MUST(shm_open("/roam-test", O_RDWR | O_CREAT | O_EXCL, 0600));
    MUST(ftruncate(fd, 8192));
    char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED, "no mapping");
    strcpy(map + 4096, "shared");
    ready();
    CHECK(strcmp(map + 4096, "shared") == 0, "contents changed");
    int again = MUST(shm_open("/roam-test", O_RDWR, 0));
    char *second = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
    strcpy(second, "by name");
    CHECK(strcmp(map, "by name") == 0, "the name leads to another file");
    MUST(shm_unlink("/roam-test"));
    return passed();
}
