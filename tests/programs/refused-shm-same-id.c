/* System V shared memory of an ipc namespace that nobody is in any more, with the id of another of the session. */
#include "namespaces.h"
#include <sys/shm.h>

static void *own_at;
static int own;

static int body(void *argument) {
    MUST(shmdt(own_at));
    new_user(CLONE_NEWIPC, 0, 0);
    int id = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    /* Where the session's is not the first, as it may be alone. */
    for (int i = 0; i < 100 && id < own; i++) id = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    uint64_t *at = shmat(id, NULL, 0);
    CHECK(at != (void *)-1, "not attached");
    *at = 1234;
    MUST(unshare(CLONE_NEWIPC));
    prepared(argument);
    CHECK(*at == 1234, "it holds %lu", (unsigned long)*at);
    return 0;
}

int main(void) {
    own = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    own_at = shmat(own, NULL, 0);
    CHECK(own_at != (void *)-1, "not attached");
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal_late("it is System V shared memory of an ipc namespace that the session is not in");
    ready();
    go_on(steps);
    ends_well(pid);
    MUST(shmctl(own, IPC_RMID, NULL));
    return passed();
}
