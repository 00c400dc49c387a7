/* A parent, its children and a grandchild have most of their memory in common since the fork: there is one page of it for
 * all until somebody writes. What each wrote, gave back, unmapped, protected or moved is its own. */
#include "check.h"
#include "proc.h"

enum { PAGES = 1024, WRITTEN = 8, DATA = 32 };
static char *memory;
static char data[DATA * 4096] __attribute__((aligned(4096))) = {1};
static int go[2], back[2];

static void see(const char *who, int first, int last) {
    for (int page = first; page < last; page++)
        CHECK(is_filled(memory + page * 4096, 4096, (uint64_t)page), "%s sees another page %d", who, page);
    int common = pages_in_common(memory + first * 4096, last - first);
    CHECK(common == last - first, "%s has %d of %d pages in common with others", who, common, last - first);
}

static void see_data(const char *who) {
    CHECK(is_filled(data, sizeof data, 77), "%s sees other data", who);
    int common = pages_in_common(data, DATA);
    CHECK(common == DATA, "%s has %d of %d pages of data in common with others", who, common, DATA);
}

static void wait_for_go(void) {
    char byte;
    write_all(back[1], "x", 1);
    read_all(go[0], &byte, 1);
}

static int one_that_looks_on(void *unused) {
    (void)unused;
    wait_for_go();
    see("a child", 0, PAGES);
    see_data("a child");
    return 0;
}

static int one_that_writes(void *unused) {
    (void)unused;
    for (int page = 0; page < WRITTEN; page++) fill(memory + page * 2 * 4096, 4096, 1000 + (uint64_t)page);
    MUST(madvise(memory + 100 * 4096, 10 * 4096, MADV_DONTNEED));
    fill(data, 4096, 5);
    wait_for_go();
    for (int page = 0; page < WRITTEN; page++) {
        CHECK(is_filled(memory + page * 2 * 4096, 4096, 1000 + (uint64_t)page), "what a child wrote is lost");
        see("one that wrote", page * 2 + 1, page * 2 + 2);
    }
    for (int at = 0; at < 10 * 4096; at++) CHECK(memory[100 * 4096 + at] == 0, "what a child gave back is there");
    see("one that wrote", WRITTEN * 2, 100);
    see("one that wrote", 110, PAGES);
    CHECK(is_filled(data, 4096, 5) && pages_in_common(data + 4096, DATA - 1) == DATA - 1, "one that wrote has all its data alone");
    return 0;
}

static int one_that_maps(void *unused) {
    (void)unused;
    char *moved = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(moved != MAP_FAILED, "no memory");
    CHECK(mremap(memory + 200 * 4096, 64 * 4096, 64 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved, "not moved");
    MUST(munmap(memory + 300 * 4096, 100 * 4096));
    MUST(mprotect(memory + 500 * 4096, 100 * 4096, PROT_READ));
    MUST(mprotect(memory + 700 * 4096, 10 * 4096, PROT_NONE));
    char *other = memory + 800 * 4096;
    CHECK(mmap(other, 50 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == other, "not mapped");
    fill(other + 4096, 4096, 3);
    wait_for_go();
    for (int page = 0; page < 64; page++)
        CHECK(is_filled(moved + page * 4096, 4096, 200 + (uint64_t)page), "what was moved is another");
    see("one that maps", 0, 200);
    see("one that maps", 264, 300);
    see("one that maps", 400, 700);
    CHECK(pages_in_common(memory + 700 * 4096, 10) == 10, "one that maps has what it may not touch alone");
    MUST(mprotect(memory + 700 * 4096, 10 * 4096, PROT_READ | PROT_WRITE));
    see("one that maps", 700, 800);
    CHECK(is_filled(other + 4096, 4096, 3) && other[0] == 0 && other[2 * 4096] == 0, "what was mapped anew is another");
    see("one that maps", 850, PAGES);
    MUST(mprotect(memory + 500 * 4096, 100 * 4096, PROT_READ | PROT_WRITE));
    fill(memory + 550 * 4096, 4096, 9);
    return 0;
}

static int grandchild(void *unused) {
    (void)unused;
    fill(memory + 20 * 4096, 4096, 20);
    fill(memory + 31 * 4096, 4096, 9);
    wait_for_go();
    see("the grandchild", 0, 20);
    CHECK(is_filled(memory + 31 * 4096, 4096, 9), "what the grandchild wrote is lost");
    /* What its parent alone had when it was forked. */
    CHECK(is_filled(memory + 30 * 4096, 4096, 8) && pages_in_common(memory + 30 * 4096, 1) == 1, "the grandchild has its parent's page alone");
    see("the grandchild", 32, PAGES);
    see_data("the grandchild");
    return 0;
}

static int one_with_a_child(void *unused) {
    (void)unused;
    MUST(setsid());
    fill(memory + 30 * 4096, 4096, 8);
    fill(memory + 31 * 4096, 4096, 8);
    pid_t pid = child(grandchild, NULL);
    wait_for_go();
    see("one with a child", 0, 30);
    CHECK(is_filled(memory + 31 * 4096, 4096, 8), "what one with a child wrote is lost");
    see("one with a child", 32, PAGES);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "the grandchild ended with %x", status);
    return 0;
}

int main(void) {
    int (*bodies[])(void *) = {one_that_looks_on, one_that_writes, one_that_maps, one_with_a_child};
    enum { CHILDREN = sizeof bodies / sizeof *bodies };
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, back));
    memory = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    madvise(memory, PAGES * 4096, MADV_NOHUGEPAGE);
    for (int page = 0; page < PAGES; page++) fill(memory + page * 4096, 4096, (uint64_t)page);
    fill(data, sizeof data, 77);
    pid_t pids[CHILDREN];
    char bytes[CHILDREN + 1];
    for (int i = 0; i < CHILDREN; i++) pids[i] = child(bodies[i], NULL);
    read_all(back[0], bytes, sizeof bytes);
    ready();
    see("the parent", 0, PAGES);
    see_data("the parent");
    write_all(go[1], "xxxxx", sizeof bytes);
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "child %d ended with %x", i, status);
    }
    return passed();
}
