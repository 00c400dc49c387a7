/* A memfd that can never be made executable, as browsers share memory, and one that was executable when that was
 * sealed and so can't be written any more. Kernels before 6.3 have no such seal: then what their permissions are. */
#include "check.h"

enum { EXEC = 0x20, NOEXEC_SEAL = 8, SIZES = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL };

static bool has_seal;

static int make(const char *name, unsigned flags, mode_t mode) {
    int fd = MUST(memfd_create(name, MFD_CLOEXEC | flags));
    MUST(ftruncate(fd, 4096));
    MUST(fchmod(fd, mode));
    return fd;
}

static void check(int fd, mode_t mode, int seals) {
    struct stat stat;
    MUST(fstat(fd, &stat));
    CHECK((stat.st_mode & 07777) == mode, "its mode is %o, not %o", stat.st_mode & 07777, mode);
    CHECK(fcntl(fd, F_GET_SEALS) == seals, "its seals are %x, not %x", fcntl(fd, F_GET_SEALS), seals);
    if (has_seal) CHECK(fchmod(fd, mode ^ 0100) < 0 && errno == EPERM, "who may execute it can be changed");
}

int main(void) {
    int probe = memfd_create("probe", MFD_CLOEXEC | NOEXEC_SEAL);
    has_seal = probe >= 0;
    int data = make("data", has_seal ? NOEXEC_SEAL : MFD_ALLOW_SEALING, 0640);
    char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, data, 0), byte = 0;
    CHECK(shared != MAP_FAILED, "no mapping");
    int seals = (has_seal ? EXEC : 0) | SIZES;
    MUST(fcntl(data, F_ADD_SEALS, SIZES));
    int code = make("code", MFD_ALLOW_SEALING, 0500);
    MUST(pwrite(code, "code", 4, 0));
    if (has_seal) MUST(fcntl(code, F_ADD_SEALS, EXEC));
    int of_code = MUST(fcntl(code, F_GET_SEALS));
    ready();
    check(data, 0640, seals);
    check(code, 0500, of_code);
    MUST(fchmod(data, 0600));
    shared[5] = 77;
    CHECK(pread(data, &byte, 1, 5) == 1 && byte == 77, "the mapping is apart");
    CHECK(pread(code, &byte, 1, 3) == 1 && byte == 'e', "contents changed");
    if (has_seal) CHECK(pwrite(code, "x", 1, 0) < 0 && errno == EPERM, "it can be written");
    return passed();
}
