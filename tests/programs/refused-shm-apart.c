/* System V shared memory of an ipc namespace that nobody is in any more: it is in no list, and can't be made anew. */
#include "namespaces.h"
#include <sys/shm.h>

static int body(void *argument) {
    new_user(CLONE_NEWIPC, 0, 0);
    int id = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    uint64_t *at = shmat(id, NULL, 0);
    CHECK(at != (void *)-1, "not attached");
    *at = 1234;
    MUST(unshare(CLONE_NEWIPC));
    prepared(argument);
    CHECK(*at == 1234, "it holds %lu", (unsigned long)*at);
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal_late("it is System V shared memory of an ipc namespace that the session is not in");
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
