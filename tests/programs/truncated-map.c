/* A mapped file that was cut: beyond its end is SIGBUS, and memory again once the file grows. For a named
 * file, an unlinked one whose descriptor is closed, and a memfd. */
#include "faults.h"

static char *map(int fd, int flags) {
    char *at = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, flags, fd, 0);
    CHECK(at != MAP_FAILED, "no mapping");
    fill(at, 4096, 2);
    return at;
}

int main(void) {
    catch_faults();
    int named = MUST(open(in_folder("named"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(named, 16 * 4096));
    char *one = map(named, MAP_SHARED);
    one[9 * 4096] = 1;
    MUST(ftruncate(named, 4 * 4096 + 100));
    int gone = MUST(open(in_folder("gone"), O_RDWR | O_CREAT, 0600));
    MUST(unlink(in_folder("gone")));
    MUST(ftruncate(gone, 16 * 4096));
    char *two = map(gone, MAP_SHARED);
    MUST(ftruncate(gone, 6 * 4096));
    close(gone);
    int memfd = MUST(memfd_create("cut", 0));
    MUST(ftruncate(memfd, 16 * 4096));
    char *three = map(memfd, MAP_PRIVATE);
    MUST(ftruncate(memfd, 8 * 4096));
    ready();
    CHECK(is_filled(one, 4096, 2) && is_filled(two, 4096, 2) && is_filled(three, 4096, 2), "contents changed");
    CHECK(reading(one + 4 * 4096) == 0 && reading(one + 5 * 4096) == SIGBUS, "the named file's end is elsewhere");
    CHECK(reading(two + 5 * 4096) == 0, "the unlinked file is shorter");
    CHECK(reading(two + 6 * 4096) == SIGBUS, "the unlinked file is longer");
    CHECK(reading(three + 7 * 4096) == 0 && reading(three + 8 * 4096) == SIGBUS, "the memfd's end is elsewhere");
    struct stat stat;
    MUST(fstat(memfd, &stat));
    CHECK(stat.st_size == 8 * 4096, "the memfd has %lld bytes", (long long)stat.st_size);
    MUST(ftruncate(memfd, 16 * 4096));
    MUST(ftruncate(named, 16 * 4096));
    CHECK(reading(three + 12 * 4096) == 0 && reading(one + 9 * 4096) == 0, "it does not grow any more");
    CHECK(one[9 * 4096] == 0, "what was cut off is back");
    return passed();
}
