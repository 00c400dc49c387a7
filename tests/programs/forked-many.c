/* Many children of a large parent, as servers are: each has written and given back other pages. All see what they saw, and
 * together they need little more memory than one. */
#include "check.h"
#include "proc.h"

enum { PAGES = 3072, CHILDREN = 24, OWN = 40 };
static char *memory;
static int go[2][2], back[2];

/* Which pages a child has for itself: some written, some given back. */
static int own_page(int child, int i) { return (child * 131 + i * 71) % PAGES; }

static int body(void *number) {
    int me = (int)(intptr_t)number;
    char *state = calloc(PAGES, 1), byte;
    for (int i = 0; i < OWN; i++) {
        int page = own_page(me, i);
        if (i % 4 == 3) {
            MUST(madvise(memory + page * 4096, 4096, MADV_DONTNEED));
            state[page] = 2;
        } else {
            fill(memory + page * 4096, 4096, (uint64_t)(100000 + me));
            state[page] = 1;
        }
    }
    write_all(back[1], "x", 1);
    read_all(go[0][0], &byte, 1);
    int common = pages_in_common(memory, PAGES);
    CHECK(common >= PAGES - OWN, "child %d has only %d of %d pages in common with others", me, common, PAGES);
    write_all(back[1], "x", 1);
    read_all(go[1][0], &byte, 1);
    for (int page = 0; page < PAGES; page++) {
        char *at = memory + page * 4096;
        uint64_t seed = state[page] == 1 ? (uint64_t)(100000 + me) : (uint64_t)page;
        if (state[page] == 2) CHECK(at[0] == 0 && at[4095] == 0, "child %d has back page %d", me, page);
        else CHECK(is_filled(at, 4096, seed), "child %d sees another page %d", me, page);
    }
    return 0;
}

int main(void) {
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go[0]));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go[1]));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, back));
    memory = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    madvise(memory, PAGES * 4096ul, MADV_NOHUGEPAGE);
    for (int page = 0; page < PAGES; page++) fill(memory + page * 4096, 4096, (uint64_t)page);
    pid_t pids[CHILDREN];
    char bytes[CHILDREN];
    for (intptr_t i = 0; i < CHILDREN; i++) pids[i] = child(body, (void *)i);
    read_all(back[0], bytes, CHILDREN);
    ready();
    int common = pages_in_common(memory, PAGES);
    CHECK(common == PAGES, "the parent has only %d of %d pages in common with others", common, PAGES);
    for (int round = 0; round < 2; round++) {
        memset(bytes, 'x', CHILDREN);
        write_all(go[round][1], bytes, CHILDREN);
        if (round == 0) read_all(back[0], bytes, CHILDREN);
    }
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "child %d ended with %x", i, status);
    }
    for (int page = 0; page < PAGES; page++) CHECK(is_filled(memory + page * 4096, 4096, (uint64_t)page), "the parent sees another page %d", page);
    return passed();
}
