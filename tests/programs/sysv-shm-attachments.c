/* One segment attached several times and in parts: read-only, twice in one process, with a part unmapped and
 * a part protected; shmdt finds all parts, and the kernel counts what it counted. */
#include "check.h"
#include <setjmp.h>
#include <sys/shm.h>

enum { PAGES = 6, PAGE = 4096 };
static sigjmp_buf back;
static void on_fault(int number) {
    (void)number;
    siglongjmp(back, 1);
}

static bool faults(volatile char *at, bool write) {
    if (sigsetjmp(back, 1)) return true;
    if (write) *at = *at;
    else (void)*at;
    return false;
}

static unsigned long attached(int id) {
    struct shmid_ds data;
    MUST(shmctl(id, IPC_STAT, &data));
    return data.shm_nattch;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    int id = MUST(shmget(IPC_PRIVATE, PAGES * PAGE, IPC_CREAT | 0600)), odd = MUST(shmget(IPC_PRIVATE, 5000, 0600));
    char *one = shmat(id, NULL, 0), *two = shmat(id, NULL, 0), *only = shmat(id, NULL, SHM_RDONLY), *small = shmat(odd, NULL, 0);
    CHECK(one != (void *)-1 && two != (void *)-1 && only != (void *)-1 && small != (void *)-1, "not attached");
    fill(one, PAGES * PAGE, 3);
    fill(small, 5000, 4);
    MUST(munmap(two + 2 * PAGE, PAGE));
    MUST(mprotect(two + 4 * PAGE, PAGE, PROT_READ));
    unsigned long before = attached(id);
    ready();
    CHECK(is_filled(one, PAGES * PAGE, 3) && is_filled(only, PAGES * PAGE, 3) && is_filled(small, 5000, 4), "contents changed");
    CHECK(attached(id) == before && attached(odd) == 1, "%lu attachments instead of %lu", attached(id), before);
    CHECK(faults(only, true) && !faults(only, false), "what was read-only can be written");
    CHECK(!faults(two, true) && !faults(two + 3 * PAGE, true) && !faults(two + 5 * PAGE, true), "a part is lost");
    CHECK(faults(two + 2 * PAGE, false), "the part that was unmapped is back");
    CHECK(faults(two + 4 * PAGE, true) && !faults(two + 4 * PAGE, false), "the protected part can be written");
    two[3 * PAGE + 7] = 'r';
    two[5 * PAGE] = 's';
    CHECK(one[3 * PAGE + 7] == 'r' && only[5 * PAGE] == 's', "the attachments are of two segments");
    MUST(mprotect(two + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE));
    two[4 * PAGE + 1] = 't';
    CHECK(one[4 * PAGE + 1] == 't', "a part is of another segment");
    MUST(shmdt(two));
    CHECK(faults(two, false) && faults(two + 3 * PAGE, false) && faults(two + 5 * PAGE, false), "shmdt left a part");
    CHECK(attached(id) == 2, "%lu attachments are left", attached(id));
    CHECK(!faults(one, true), "shmdt took another attachment");
    MUST(shmctl(id, IPC_RMID, NULL));
    MUST(shmctl(odd, IPC_RMID, NULL));
    return passed();
}
