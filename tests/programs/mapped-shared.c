/* A file mapped shared by two processes: each sees the other's writes, and so does the file. */
#include "check.h"

static volatile uint32_t *map;
static int go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    map[1] = map[0] + 1;
    return 0;
}

int main(void) {
    char *path = in_folder("data");
    int fd = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    MUST(ftruncate(fd, 8 * 4096));
    map = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED, "no mapping");
    map[0] = 41;
    map[7 * 1024] = 77;
    MUST(pipe(go));
    pid_t pid = child(other, NULL);
    ready();
    CHECK(map[0] == 41 && map[7 * 1024] == 77, "the mapping changed");
    map[0] = 100;
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(map[1] == 101, "the processes no longer share the mapping");
    uint32_t in_file;
    CHECK(pread(fd, &in_file, 4, 0) == 4 && in_file == 100, "a shared write did not reach the file");
    return passed();
}
