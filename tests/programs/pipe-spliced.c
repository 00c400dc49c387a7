/* Pipes filled by tee, splice from a file, and vmsplice: the pages belong to others, the bytes travel. */
#include "check.h"
#include <sys/uio.h>

int main(void) {
    static char block[16384] __attribute__((aligned(4096)));
    char back[16384];
    int teed[2], spliced[2], given[2], source[2];
    MUST(pipe(teed));
    MUST(pipe(spliced));
    MUST(pipe(given));
    MUST(pipe(source));
    write_all(source[1], "to both", 7);
    CHECK(tee(source[0], teed[1], 100, 0) == 7, "no tee");
    fill(block, sizeof block, 1);
    int file = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    write_all(file, block, sizeof block);
    off64_t at = 100;
    CHECK(splice(file, &at, spliced[1], NULL, 9000, 0) > 0, "no splice");
    size_t count = (size_t)(at - 100);
    struct iovec part = {block + 10, 8000};
    CHECK(vmsplice(given[1], &part, 1, 0) == 8000, "no vmsplice");
    ready();
    read_all(source[0], back, 7);
    CHECK(memcmp(back, "to both", 7) == 0, "the source has other bytes");
    read_all(teed[0], back, 7);
    CHECK(memcmp(back, "to both", 7) == 0, "the copy has other bytes");
    read_all(spliced[0], back, count);
    CHECK(memcmp(back, block + 100, count) == 0, "the file's bytes are other ones");
    read_all(given[0], back, 8000);
    CHECK(memcmp(back, block + 10, 8000) == 0, "the memory's bytes are other ones");
    write_all(source[1], "on", 2);
    CHECK(splice(source[0], NULL, spliced[1], NULL, 2, 0) == 2, "no splice from pipe to pipe");
    read_all(spliced[0], back, 2);
    CHECK(memcmp(back, "on", 2) == 0, "it does not go on");
    return passed();
}
