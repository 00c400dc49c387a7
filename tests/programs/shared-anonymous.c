/* Memory shared by parent and child without a file. */
#include "check.h"

static volatile uint64_t *map;
static int go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    map[1] = map[0] * 2;
    return 0;
}

int main(void) {
    size_t size = 4 << 20;
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED, "no mapping");
    fill((void *)(map + 512), size / 2, 11);
    MUST(pipe(go));
    pid_t pid = child(other, NULL);
    ready();
    CHECK(is_filled((void *)(map + 512), size / 2, 11), "contents changed");
    CHECK(map[size / 8 - 1] == 0, "untouched memory is not zero");
    map[0] = 21;
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(map[1] == 42, "the processes no longer share the memory");
    return passed();
}
