/* MADV_DONTFORK and MADV_WIPEONFORK keep their word in a child made later: secrets do not reach it. */
#include "faults.h"

static char *gone, *wiped, *kept;

static int looks(void *unused) {
    (void)unused;
    catch_faults();
    if (reading(gone) != SIGSEGV) return 1;
    if (reading(wiped) != 0 || wiped[0] != 0 || wiped[8191] != 0) return 2;
    return is_filled(kept, 8192, 3) ? 0 : 3;
}

static void check(const char *when) {
    int status;
    pid_t pid = child(looks, NULL);
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "%s the child says %x", when, status);
}

int main(void) {
    char *memory = mmap(NULL, 6 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    gone = memory, wiped = memory + 8192, kept = memory + 2 * 8192;
    fill(gone, 8192, 1);
    fill(wiped, 8192, 2);
    fill(kept, 8192, 3);
    MUST(madvise(gone, 8192, MADV_DONTFORK));
    MUST(madvise(wiped, 8192, MADV_WIPEONFORK));
    check("before");
    ready();
    CHECK(is_filled(gone, 8192, 1) && is_filled(wiped, 8192, 2) && is_filled(kept, 8192, 3), "contents changed");
    check("afterwards");
    return passed();
}
