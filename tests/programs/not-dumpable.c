/* A program that keeps its memory from others (PR_SET_DUMPABLE 0), as password stores and key agents do: it goes
 * along with descriptors and all, and stays so. */
#include "check.h"

int main(void) {
    int ends[2];
    MUST(pipe(ends));
    char *secret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fill(secret, 4096, 99);
    MUST(prctl(PR_SET_DUMPABLE, 0));
    write_all(ends[1], "kept", 4);
    ready();
    CHECK(prctl(PR_GET_DUMPABLE) == 0, "its memory may be read now: %d", prctl(PR_GET_DUMPABLE));
    char text[4];
    read_all(ends[0], text, 4);
    CHECK(memcmp(text, "kept", 4) == 0 && is_filled(secret, 4096, 99), "contents changed");
    return passed();
}
