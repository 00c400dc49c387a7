/* Shared memory that is mostly empty: sixteen GiB of address space of a memfd with a few pages in it,
 * seen by a child as well. */
#include "proc.h"

static char *file;
static int go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    size_t gib = 1ul << 30;
    if (!is_filled(file + 15 * gib, 4096, 15)) return 2;
    file[3 * gib + 5] = 35;
    return 9;
}

int main(void) {
    MUST(pipe(go));
    size_t gib = 1ul << 30;
    int fd = MUST(memfd_create("sparse", MFD_CLOEXEC));
    MUST(ftruncate(fd, (off_t)(16 * gib)));
    file = mmap(NULL, 16 * gib, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    CHECK(file != MAP_FAILED, "no memory");
    for (size_t i = 1; i < 16; i += 2) fill(file + i * gib, 4096, i);
    pid_t pid = child(other, NULL);
    ready();
    for (size_t i = 1; i < 16; i += 2) CHECK(is_filled(file + i * gib, 4096, i), "page at %zu GiB changed", i);
    struct stat stat;
    MUST(fstat(fd, &stat));
    CHECK(stat.st_size == (off_t)(16 * gib), "it has %lld bytes", (long long)stat.st_size);
    CHECK(stat.st_blocks * 512 < 64 << 20, "it takes %lld bytes now", (long long)stat.st_blocks * 512);
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 9 && file[3 * gib + 5] == 35, "it is not shared with the child any more: %x", status);
    return passed();
}
