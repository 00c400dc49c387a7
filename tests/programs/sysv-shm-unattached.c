/* System V shared memory that nobody has attached: the content, the id, the key, permissions; ids between
 * that were removed, and new ones afterwards. */
#include "check.h"
#include <sys/shm.h>

enum { SIZE = 300000 };

static int make(key_t key, int mode, uint64_t seed) {
    int id = MUST(shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600));
    void *memory = shmat(id, NULL, 0);
    CHECK(memory != (void *)-1, "not attached");
    fill(memory, SIZE, seed);
    MUST(shmdt(memory));
    struct shmid_ds data;
    MUST(shmctl(id, IPC_STAT, &data));
    data.shm_perm.mode = (unsigned short)mode;
    MUST(shmctl(id, IPC_SET, &data));
    return id;
}

static void look(int id, int mode, uint64_t seed) {
    struct shmid_ds data;
    MUST(shmctl(id, IPC_STAT, &data));
    CHECK(data.shm_segsz == SIZE && (int)(data.shm_perm.mode & 0777) == mode, "size %zu, mode %o", data.shm_segsz,
          data.shm_perm.mode);
    CHECK(data.shm_nattch == 0, "%lu attachments", (unsigned long)data.shm_nattch);
    CHECK(data.shm_perm.uid == getuid() && data.shm_perm.cuid == getuid(), "it is another's");
    void *memory = shmat(id, NULL, SHM_RDONLY);
    CHECK(memory != (void *)-1, "not attached");
    CHECK(is_filled(memory, SIZE, seed), "the content of %d changed", id);
    MUST(shmdt(memory));
}

int main(void) {
    int one = make(0x726f0001, 0640, 11), removed = make(IPC_PRIVATE, 0600, 12), two = make(IPC_PRIVATE, 0600, 13);
    MUST(shmctl(removed, IPC_RMID, NULL));
    int three = make(0x726f0003, 0400, 14);
    ready();
    look(one, 0640, 11);
    look(two, 0600, 13);
    look(three, 0400, 14);
    CHECK(shmget(0x726f0001, 0, 0) == one && shmget(0x726f0003, 0, 0) == three, "a key leads to another segment");
    struct shmid_ds data;
    CHECK(shmctl(removed, IPC_STAT, &data) < 0, "a removed segment is back");
    int fresh = MUST(shmget(IPC_PRIVATE, 4096, 0600));
    CHECK(fresh != one && fresh != two && fresh != three, "an id is given twice");
    int all[] = {one, two, three, fresh};
    for (int i = 0; i < 4; i++) MUST(shmctl(all[i], IPC_RMID, NULL));
    return passed();
}
