/* Memory that may be executed and neither read nor written: the code runs, and where the CPU can keep it from being
 * read it still does. */
#include "faults.h"

int main(void) {
    catch_faults();
    char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED, "no memory");
    memcpy(code, "\xb8\x2a\0\0\0\xc3", 6);
    MUST(mprotect(code, 4096, PROT_EXEC));
    CHECK(((int (*)(void))code)() == 42, "the test itself");
    ready();
    CHECK(((int (*)(void))code)() == 42, "the code does not run");
    CHECK(writing(code) == SIGSEGV, "it can be written");
    MUST(mprotect(code, 4096, PROT_READ));
    CHECK(memcmp(code, "\xb8\x2a\0\0\0\xc3", 6) == 0, "the code changed");
    return passed();
}
