/* Random bytes by the vdso's function (Linux 6.11), as a libc calls it: with a state that the kernel says how to make.
 * A program remembers the function's address, and the machine that it comes to may have none. */
#include "check.h"
#include <elf.h>
#include <sys/auxv.h>

struct params {
    uint32_t size, prot, flags, reserved[13];
};
typedef ssize_t random_function(void *, size_t, unsigned, void *, size_t);

static random_function *find(void) {
    uintptr_t base = getauxval(AT_SYSINFO_EHDR);
    if (!base) return NULL;
    const Elf64_Phdr *header = (void *)(base + ((Elf64_Ehdr *)base)->e_phoff);
    const Elf64_Dyn *dynamic = NULL;
    for (int i = 0; i < ((Elf64_Ehdr *)base)->e_phnum; i++)
        if (header[i].p_type == PT_DYNAMIC) dynamic = (void *)(base + header[i].p_vaddr);
    const Elf64_Sym *symbols = NULL;
    const char *names = NULL;
    for (; dynamic && dynamic->d_tag; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB) symbols = (void *)(base + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_STRTAB) names = (void *)(base + dynamic->d_un.d_ptr);
    }
    /* The names follow the symbols. */
    for (; symbols && (const char *)symbols < names; symbols++)
        if (strcmp(names + symbols->st_name, "__vdso_getrandom") == 0) return (random_function *)(base + symbols->st_value);
    return NULL;
}

int main(void) {
    random_function *make = find();
    if (!make) {
        ready();
        return passed();
    }
    struct params params = {0};
    CHECK(make(NULL, 0, 0, &params, ~0ul) == 0 && params.size > 0, "it does not say what it needs");
    void *state = mmap(NULL, params.size, (int)params.prot, (int)params.flags, -1, 0);
    CHECK(state != MAP_FAILED, "no room for its state");
    char one[64], two[64], none[64] = {0};
    CHECK(make(one, sizeof one, 0, state, params.size) == sizeof one, "no random bytes");
    ready();
    for (int i = 0; i < 3; i++) {
        memset(two, 0, sizeof two);
        ssize_t got = make(two, sizeof two, 0, state, params.size);
        CHECK(got == sizeof two, "%zd random bytes", got);
        CHECK(memcmp(two, none, sizeof two) != 0 && memcmp(two, one, sizeof two) != 0, "bytes that are not random");
        memcpy(one, two, sizeof one);
    }
    /* What is asked first of it is answered, by an error where there is no such function. */
    memset(&params, 0, sizeof params);
    ssize_t answer = make(NULL, 0, 0, &params, ~0ul);
    CHECK(answer == 0 ? params.size > 0 : answer < 0 && params.size == 0, "it answers %zd, and %u", answer, params.size);
    return passed();
}
