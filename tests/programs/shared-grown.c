/* Shared anonymous memory of three generations: partly unmapped by one, made longer by another,
 * protected by a third; all see each other's writes, and the end is where it was. */
#include "faults.h"

static char *memory;
static int go[2], back[2];

static int grandchild(void *unused) {
    (void)unused;
    MUST(munmap(memory + 4 * 4096, 4 * 4096));
    write_all(back[1], "g", 1);
    char byte;
    read_all(go[0], &byte, 1);
    CHECK(memory[1] == 11, "the grandchild does not see the parent's write");
    memory[2] = 22;
    write_all(back[1], "g", 1);
    return 0;
}

static int middle(void *unused) {
    (void)unused;
    pid_t pid = child(grandchild, NULL);
    char *longer = mremap(memory, 16 * 4096, 32 * 4096, MREMAP_MAYMOVE);
    CHECK(longer != MAP_FAILED, "it can't be made longer");
    longer[3] = 33;
    write_all(back[1], "m", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0 && longer[2] == 22, "the child does not see the grandchild's write");
    catch_faults();
    CHECK(writing(longer + 15 * 4096 + 8) == 0, "its last page is gone");
    CHECK(reading(longer + 16 * 4096) == SIGBUS, "beyond the end there is memory");
    return 5;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    memory = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    fill(memory + 8 * 4096, 4096, 1);
    pid_t pid = child(middle, NULL);
    char bytes[2];
    read_all(back[0], bytes, 2);
    MUST(mprotect(memory + 12 * 4096, 4096, PROT_READ));
    ready();
    CHECK(memory[3] == 33 && is_filled(memory + 8 * 4096, 4096, 1), "contents changed");
    memory[1] = 11;
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "the child ended with %x", status);
    CHECK(memory[2] == 22, "the parent does not see the grandchild's write");
    catch_faults();
    CHECK(writing(memory + 12 * 4096) == SIGSEGV, "the protected page can be written");
    return passed();
}
