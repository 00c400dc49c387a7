/* Code made at run time: pages that may be written and executed, and one memfd mapped twice, once for writing
 * and once for executing. */
#include "check.h"

typedef int (*function)(void);

/* mov eax, value; ret */
static void put(char *at, int value) {
    at[0] = (char)0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = (char)0xc3;
    __builtin___clear_cache(at, at + 6);
}

int main(void) {
    char *both = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = MUST(memfd_create("jit", MFD_CLOEXEC));
    MUST(ftruncate(fd, 8 * 4096));
    char *writes = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *runs = mmap(NULL, 8 * 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    char *closed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(both != MAP_FAILED && writes != MAP_FAILED && runs != MAP_FAILED && closed != MAP_FAILED, "no memory");
    put(both + 4096, 11);
    put(writes + 2 * 4096, 22);
    put(closed, 33);
    MUST(mprotect(closed, 4096, PROT_READ | PROT_EXEC));
    ready();
    CHECK(((function)(both + 4096))() == 11, "the code changed");
    CHECK(((function)(runs + 2 * 4096))() == 22, "the code in the memfd changed");
    CHECK(((function)closed)() == 33, "the code that was closed changed");
    put(both + 5 * 4096, 44);
    put(writes + 3 * 4096, 55);
    CHECK(((function)(both + 5 * 4096))() == 44, "new code does not run");
    CHECK(((function)(runs + 3 * 4096))() == 55, "the two mappings came apart");
    return passed();
}
