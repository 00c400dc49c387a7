/* Memory that a parent and its children have in common since the fork: each sees what it saw, writes of one reach
 * nobody else, and what one gave back is zero for it alone. */
#include "check.h"

enum { PAGES = 64, CHILDREN = 4 };
static char *memory;
static int go[2], back[2];

static int body(void *number) {
    int i = (int)(intptr_t)number;
    fill(memory + i * 4096, 4096, (uint64_t)(1000 + i));
    MUST(madvise(memory + (10 + i) * 4096, 4096, MADV_DONTNEED));
    write_all(back[1], "x", 1);
    char byte;
    read_all(go[0], &byte, 1);
    for (int page = 0; page < PAGES; page++) {
        char *at = memory + page * 4096;
        if (page == i) CHECK(is_filled(at, 4096, (uint64_t)(1000 + i)), "child %d lost what it wrote", i);
        else if (page == 10 + i) CHECK(at[0] == 0 && at[4095] == 0, "child %d has back what it gave back", i);
        else CHECK(is_filled(at, 4096, (uint64_t)page), "child %d sees another page %d", i, page);
    }
    return 0;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    memory = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    for (int page = 0; page < PAGES; page++) fill(memory + page * 4096, 4096, (uint64_t)page);
    pid_t pids[CHILDREN];
    char bytes[CHILDREN];
    for (intptr_t i = 0; i < CHILDREN; i++) pids[i] = child(body, (void *)i);
    read_all(back[0], bytes, CHILDREN);
    ready();
    for (int page = 0; page < PAGES; page++) CHECK(is_filled(memory + page * 4096, 4096, (uint64_t)page), "the parent sees another page %d", page);
    fill(memory + 40 * 4096, 4096, 40);
    write_all(go[1], "xxxx", CHILDREN);
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "child %d ended with %x", i, status);
    }
    return passed();
}
