/* Segments marked for removal, attached by two processes, one with a key that is free again; a locked one. They
 * go with their last user and not before. */
#include "check.h"
#include <sys/shm.h>

static int go[2];
static volatile uint32_t *doomed;

static int other(void *unused) {
    (void)unused;
    char byte;
    read_all(go[0], &byte, 1);
    return doomed[0] == 44 && doomed[1] == 9 ? 0 : 1;
}

int main(void) {
    const key_t key = 0x726f0011;
    int id = MUST(shmget(key, 8192, IPC_CREAT | IPC_EXCL | 0600)), locked = MUST(shmget(IPC_PRIVATE, 8192, 0600));
    doomed = shmat(id, NULL, 0);
    CHECK(doomed != (void *)-1, "not attached");
    doomed[1] = 9;
    MUST(shmctl(id, IPC_RMID, NULL));
    /* The key is free: another segment takes it. */
    int second = MUST(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
    bool may_lock = shmctl(locked, SHM_LOCK, NULL) == 0;
    MUST(pipe(go));
    pid_t pid = child(other, NULL);
    ready();
    struct shmid_ds data;
    MUST(shmctl(id, IPC_STAT, &data));
    CHECK(data.shm_perm.mode & SHM_DEST, "it is no longer marked for removal");
    CHECK(data.shm_nattch == 2, "%lu attachments", (unsigned long)data.shm_nattch);
    CHECK(shmget(key, 0, 0) == second, "the key leads to another segment");
    MUST(shmctl(second, IPC_STAT, &data));
    CHECK(!(data.shm_perm.mode & SHM_DEST), "another one is marked for removal");
    MUST(shmctl(locked, IPC_STAT, &data));
    CHECK(!may_lock || data.shm_perm.mode & SHM_LOCKED, "it is no longer locked");
    doomed[0] = 44;
    MUST(shmdt((void *)doomed));
    MUST(shmctl(id, IPC_STAT, &data));
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the processes no longer share it");
    CHECK(shmctl(id, IPC_STAT, &data) < 0, "it outlives its last user");
    MUST(shmctl(second, IPC_RMID, NULL));
    MUST(shmctl(locked, IPC_RMID, NULL));
    return passed();
}
