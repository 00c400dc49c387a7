/* A program that registered for membarrier, as runtimes with collectors do, may go on using it. */
#include "check.h"
#include <linux/membarrier.h>

static int barrier(int command) { return (int)syscall(SYS_membarrier, command, 0, 0); }

int main(void) {
    int known = barrier(MEMBARRIER_CMD_QUERY);
    bool expedited = known > 0 && known & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    bool core = known > 0 && known & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
    bool global = known > 0 && known & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
    if (expedited) MUST(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED));
    if (core) MUST(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE));
    if (global) MUST(barrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
    ready();
    if (expedited) CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "it is not registered any more");
    if (core) CHECK(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) == 0, "not for code either");
    if (global) CHECK(barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0, "not globally either");
    return passed();
}
