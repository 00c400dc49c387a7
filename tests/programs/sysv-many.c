/* Hundreds of System V objects of each kind, more than the kernel lists in one read: attached segments and such that
 * nobody has attached, semaphores, message queues. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

enum { MANY = 1200, ATTACHED = 100 };

int main(void) {
    static int segments[MANY], sets[MANY], queues[MANY];
    static uint64_t *at[ATTACHED];
    struct { long type; int value; } message;
    for (int i = 0; i < MANY; i++) {
        segments[i] = MUST(shmget(IPC_PRIVATE, 4096, 0600));
        sets[i] = MUST(semget(IPC_PRIVATE, 2, 0600));
        queues[i] = MUST(msgget(IPC_PRIVATE, 0600));
        if (i < ATTACHED) {
            at[i] = MUST(shmat(segments[i], NULL, 0));
            at[i][7] = 1000 + (uint64_t)i;
        }
        MUST(semctl(sets[i], 1, SETVAL, i % 30000));
        message.type = 1;
        message.value = i;
        MUST(msgsnd(queues[i], &message, sizeof message.value, 0));
    }
    ready();
    for (int i = 0; i < MANY; i++) {
        struct shmid_ds data;
        MUST(shmctl(segments[i], IPC_STAT, &data));
        CHECK(data.shm_nattch == (i < ATTACHED), "segment %d has %lu attachments", i, (unsigned long)data.shm_nattch);
        if (i < ATTACHED) {
            CHECK(at[i][7] == 1000 + (uint64_t)i, "segment %d holds %lu", i, (unsigned long)at[i][7]);
            MUST(shmdt(at[i]));
        }
        MUST(shmctl(segments[i], IPC_RMID, NULL));
        CHECK(MUST(semctl(sets[i], 1, GETVAL)) == i % 30000, "semaphore %d has another value", i);
        MUST(semctl(sets[i], 0, IPC_RMID));
        CHECK(MUST(msgrcv(queues[i], &message, sizeof message.value, 0, IPC_NOWAIT)) == sizeof message.value && message.value == i,
              "queue %d holds another message", i);
        MUST(msgctl(queues[i], IPC_RMID, NULL));
    }
    return passed();
}
