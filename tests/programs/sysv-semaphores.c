/* System V semaphores: sets of several sizes with their values, last users, keys, permissions and ids. */
#include "check.h"
#include <sys/sem.h>

union argument { int value; struct semid_ds *data; unsigned short *values; };
static int large, go[2];

static int uses(void *unused) {
    (void)unused;
    char byte = 0;
    MUST(semop(large, &(struct sembuf){7, 3, 0}, 1));
    write_all(go[1], &byte, 1);
    read_all(go[1], &byte, 1);
    return 0;
}

int main(void) {
    const key_t key = 0x726f0021;
    int removed = MUST(semget(IPC_PRIVATE, 1, 0600)), one = MUST(semget(key, 3, IPC_CREAT | IPC_EXCL | 0640));
    large = MUST(semget(IPC_PRIVATE, 250, 0600));
    MUST(semctl(removed, 0, IPC_RMID));
    unsigned short values[250];
    for (int i = 0; i < 250; i++) values[i] = (unsigned short)(i * 131 % 32768);
    MUST(semctl(large, 0, SETALL, (union argument){.values = values}));
    MUST(semctl(one, 2, SETVAL, (union argument){.value = 32767}));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(uses, NULL);
    char byte;
    read_all(go[0], &byte, 1);
    values[7] += 3;
    ready();
    unsigned short now[250];
    MUST(semctl(large, 0, GETALL, (union argument){.values = now}));
    for (int i = 0; i < 250; i++) CHECK(now[i] == values[i], "semaphore %d has %d instead of %d", i, now[i], values[i]);
    CHECK(semctl(large, 7, GETPID) == pid, "the last user was %d and is %d", pid, semctl(large, 7, GETPID));
    CHECK(semctl(large, 8, GETPID) == getpid(), "the last user is %d", semctl(large, 8, GETPID));
    CHECK(semctl(one, 0, GETVAL) == 0 && semctl(one, 2, GETVAL) == 32767, "values changed");
    CHECK(semctl(one, 0, GETPID) == 0, "somebody used a semaphore that nobody had");
    CHECK(semget(key, 3, 0) == one, "the key leads to another set");
    struct semid_ds data;
    MUST(semctl(one, 0, IPC_STAT, (union argument){.data = &data}));
    CHECK((data.sem_perm.mode & 0777) == 0640 && data.sem_nsems == 3 && data.sem_perm.uid == getuid(), "mode %o", data.sem_perm.mode);
    CHECK(semctl(removed, 0, GETVAL) < 0, "a removed set is back");
    CHECK(semop(one, &(struct sembuf){0, -1, IPC_NOWAIT}, 1) < 0 && errno == EAGAIN, "one too many");
    MUST(semop(one, (struct sembuf[]){{2, -7, 0}, {0, 2, 0}}, 2));
    CHECK(semctl(one, 2, GETVAL) == 32760 && semctl(one, 0, GETVAL) == 2, "operations do not work");
    write_all(go[0], &byte, 1);
    MUST(waitpid(pid, NULL, 0));
    MUST(semctl(one, 0, IPC_RMID));
    MUST(semctl(large, 0, IPC_RMID));
    return passed();
}
