/* PR_SET_MDWE (Linux 6.3): memory that was writable never becomes executable. Older kernels have none. */
#include "check.h"
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int main(void) {
    char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED, "no memory");
    memcpy(code, "\xb8\x05\0\0\0\xc3", 6);
    MUST(mprotect(code, 4096, PROT_READ | PROT_EXEC));
    bool has = prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0;
    ready();
    CHECK(((int (*)(void))code)() == 5, "code that was there changed");
    if (has) {
        CHECK(prctl(PR_GET_MDWE, 0, 0, 0, 0) == PR_MDWE_REFUSE_EXEC_GAIN, "the setting is lost");
        char *more = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(mprotect(more, 4096, PROT_READ | PROT_EXEC) < 0 && errno == EACCES, "writable memory became executable");
    }
    return passed();
}
