/* /dev/zero, mapped: privately it is memory of one's own, shared it is memory shared with children. */
#include "check.h"

static char *shared;
static int go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    shared[8000] = 77;
    return 0;
}

int main(void) {
    MUST(pipe(go));
    int fd = MUST(open("/dev/zero", O_RDWR));
    char *own = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    shared = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(own != MAP_FAILED && shared != MAP_FAILED, "no mapping");
    close(fd);
    fill(own, 4096, 1);
    fill(shared, 4096, 2);
    pid_t pid = child(other, NULL);
    ready();
    CHECK(is_filled(own, 4096, 1) && own[4096] == 0 && own[16 * 4096 - 1] == 0, "private contents changed");
    CHECK(is_filled(shared, 4096, 2) && shared[4096] == 0, "shared contents changed");
    own[9 * 4096] = 1;
    shared[9 * 4096] = 1;
    write_all(go[1], "x", 1);
    MUST(waitpid(pid, NULL, 0));
    CHECK(shared[8000] == 77, "it is not shared with the child any more");
    return passed();
}
