/* Private mappings of files without a name, no descriptor left: pages of the file and written ones, which another
 * process that maps the same does not see; and two processes that map one such file shared, which stay one memory. */
#include "check.h"

static char *shared, *whole;
static int go[2], back[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    CHECK(shared[5] == 55, "the child does not see the write");
    shared[6] = 66;
    /* Its parent wrote there after the fork, and only for itself. */
    CHECK(is_filled(whole, 16 * 4096, 1), "the child sees what its parent wrote privately");
    write_all(back[1], "x", 1);
    return 0;
}

static int unlinked(const char *name, uint64_t seed) {
    char *path = in_folder(name), *block = malloc(16 * 4096);
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
    fill(block, 16 * 4096, seed);
    write_all(fd, block, 16 * 4096);
    MUST(unlink(path));
    free(block);
    free(path);
    return fd;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    int fd = unlinked("one", 1);
    whole = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *part = mmap(NULL, 4 * 4096, PROT_READ, MAP_PRIVATE, fd, 12 * 4096);
    close(fd);
    fd = unlinked("two", 2);
    shared = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(whole != MAP_FAILED && part != MAP_FAILED && shared != MAP_FAILED, "no mapping");
    char *copy = malloc(4 * 4096);
    memcpy(copy, part, 4 * 4096);
    pid_t pid = child(other, NULL);
    fill(whole + 4 * 4096, 4096, 3);
    ready();
    CHECK(is_filled(whole, 4 * 4096, 1) && is_filled(whole + 4 * 4096, 4096, 3), "the private mapping changed");
    CHECK(memcmp(part, copy, 4 * 4096) == 0 && memcmp(part, whole + 12 * 4096, 4 * 4096) == 0, "the part changed");
    whole[13 * 4096] ^= 1;
    CHECK(memcmp(part, copy, 4 * 4096) == 0, "a private write is seen elsewhere");
    CHECK(is_filled(shared, 16 * 4096, 2), "the shared mapping changed");
    shared[5] = 55;
    write_all(go[1], "x", 1);
    char byte;
    read_all(back[0], &byte, 1);
    CHECK(shared[6] == 66, "the processes do not share it any more");
    MUST(waitpid(pid, NULL, 0));
    return passed();
}
