/* How far rights may be raised: a shared mapping of a file open for reading only stays read-only for ever, and
 * one of a file open for writing may become writable, whatever it is now. For a file and a memfd. */
#include "check.h"

static void check(int fd, const char *what, bool prepare) {
    static char *firm[2], *open_[2];
    static int used;
    static int reader[2];
    if (prepare) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        reader[used] = MUST(open(path, O_RDONLY));
        firm[used] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, reader[used], 0);
        open_[used] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
        CHECK(firm[used] != MAP_FAILED && open_[used] != MAP_FAILED, "no mapping");
        close(reader[used]);
        used++;
        return;
    }
    static int looked;
    int i = looked++;
    CHECK(mprotect(firm[i], 4096, PROT_READ | PROT_WRITE) < 0 && errno == EACCES, "%s: a read-only mapping can be made writable", what);
    CHECK(mprotect(open_[i], 4096, PROT_READ | PROT_WRITE) == 0, "%s: a mapping can't be made writable any more", what);
    open_[i][7] = 77;
    CHECK(firm[i][7] == 77, "%s: the mappings came apart", what);
    char byte;
    CHECK(pread(fd, &byte, 1, 7) == 1 && byte == 77, "%s: mapping and file came apart", what);
}

int main(void) {
    int file = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(file, 8192));
    int memfd = MUST(memfd_create("rights", 0));
    MUST(ftruncate(memfd, 8192));
    check(file, "file", true);
    check(memfd, "memfd", true);
    ready();
    check(file, "file", false);
    check(memfd, "memfd", false);
    return passed();
}
