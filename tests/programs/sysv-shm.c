/* System V shared memory: the id, the key, attachments in two processes, a segment marked for removal. */
#include "check.h"
#include <sys/shm.h>

static volatile uint32_t *kept;
static int go[2];

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    kept[1] = kept[0] + 1;
    return 0;
}

int main(void) {
    key_t key = 0x524f414d;
    int id = MUST(shmget(key, 3 * 4096, IPC_CREAT | IPC_EXCL | 0600));
    kept = shmat(id, NULL, 0);
    CHECK(kept != (void *)-1, "not attached");
    kept[0] = 5;
    int doomed = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    volatile uint32_t *gone = shmat(doomed, NULL, 0);
    gone[0] = 9;
    MUST(shmctl(doomed, IPC_RMID, NULL));
    MUST(pipe(go));
    pid_t pid = child(other, NULL);
    ready();
    CHECK(shmget(key, 0, 0) == id, "the key leads to another segment");
    struct shmid_ds data;
    MUST(shmctl(id, IPC_STAT, &data));
    CHECK(data.shm_segsz == 3 * 4096 && (data.shm_perm.mode & 0777) == 0600, "size or mode changed");
    CHECK(data.shm_nattch == 2, "%lu attachments instead of 2", (unsigned long)data.shm_nattch);
    CHECK(kept[0] == 5 && gone[0] == 9, "contents changed");
    kept[0] = 6;
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(kept[1] == 7, "the processes no longer share the segment");
    MUST(shmdt((void *)gone));
    CHECK(shmctl(doomed, IPC_STAT, &data) < 0, "a segment marked for removal lives on");
    MUST(shmctl(id, IPC_RMID, NULL));
    return passed();
}
