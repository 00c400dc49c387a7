/* A process that walled off its System V objects and message queues, and has none; the session's, which are outside
 * of its wall, keep theirs. */
#include "namespaces.h"
#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/shm.h>

enum { KEY = 0x524f4149 };

static int body(void *argument) {
    new_user(CLONE_NEWIPC, getuid(), getgid());
    CHECK(shmget(KEY, 0, 0) < 0 && errno == ENOENT, "it sees what is outside");
    prepared(argument);
    CHECK(shmget(KEY, 0, 0) < 0 && errno == ENOENT, "it sees what is outside now");
    CHECK(mq_open("/outside", O_RDWR) < 0 && errno == ENOENT, "it sees the queue outside");
    int own = MUST(shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0600));
    MUST(shmctl(own, IPC_RMID, NULL));
    return 0;
}

int main(void) {
    int segment = MUST(shmget(KEY, 4096, IPC_CREAT | IPC_EXCL | 0600));
    char *memory = shmat(segment, NULL, 0);
    CHECK(memory != (void *)-1, "no shared memory");
    strcpy(memory, "outside");
    mqd_t queue = MUST(mq_open("/outside", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, NULL));
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    ready();
    CHECK(!shares(pid, getpid(), "ipc"), "there is no wall any more");
    CHECK(shmget(KEY, 0, 0) == segment && strcmp(memory, "outside") == 0, "the segment is another one");
    MUST(mq_send(queue, "x", 1, 0));
    MUST(mq_unlink("/outside"));
    MUST(shmctl(segment, IPC_RMID, NULL));
    go_on(steps);
    ends_well(pid);
    return passed();
}
