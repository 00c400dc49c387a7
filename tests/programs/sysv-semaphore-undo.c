/* SEM_UNDO: what processes did to semaphores is undone when they end, also after a move: upwards,
 * downwards, in several sets, by a process that is killed and by one with threads. */
#include "check.h"
#include <sys/sem.h>

static int one, two, go[4][2];

static void wait_for_word(int which) {
    char byte = 0;
    write_all(go[which][1], &byte, 1);
    read_all(go[which][1], &byte, 1);
}

static void operate(int set, unsigned short number, short change, short flags) {
    MUST(semop(set, &(struct sembuf){number, change, flags}, 1));
}

static int locks(void *unused) {
    (void)unused;
    operate(one, 0, -1, SEM_UNDO);
    operate(one, 2, 5, SEM_UNDO);
    operate(two, 1, 30000, SEM_UNDO);
    wait_for_word(0);
    return 0;
}

static int is_killed(void *unused) {
    (void)unused;
    operate(one, 1, -3, SEM_UNDO);
    operate(one, 1, -4, SEM_UNDO);
    operate(one, 1, 2, SEM_UNDO);
    wait_for_word(1);
    return 0;
}

static void *in_thread(void *unused) {
    (void)unused;
    operate(two, 0, 6, SEM_UNDO);
    return NULL;
}

static int threaded(void *unused) {
    (void)unused;
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    wait_for_word(2);
    /* After the move it takes part of it back: less is undone. */
    operate(two, 0, -2, SEM_UNDO);
    return 0;
}

static int leaves_none(void *unused) {
    (void)unused;
    operate(two, 2, 9, SEM_UNDO);
    operate(two, 2, -9, SEM_UNDO);
    operate(two, 2, 1, 0);
    wait_for_word(3);
    return 0;
}

static int value(int set, int number) { return MUST(semctl(set, number, GETVAL)); }

static void await(int set, int number, int wanted, const char *who) {
    CHECK(value(set, number) == wanted, "%s: semaphore %d has %d instead of %d", who, number, value(set, number), wanted);
}

int main(void) {
    one = MUST(semget(IPC_PRIVATE, 3, 0600));
    two = MUST(semget(IPC_PRIVATE, 120, 0600));
    operate(one, 0, 1, 0);
    operate(one, 1, 100, 0);
    int (*bodies[])(void *) = {locks, is_killed, threaded, leaves_none};
    pid_t pids[4];
    char byte;
    for (int i = 0; i < 4; i++) {
        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go[i]));
        pids[i] = child(bodies[i], NULL);
        read_all(go[i][0], &byte, 1);
    }
    operate(one, 2, -4, SEM_UNDO);
    ready();
    await(one, 0, 0, "before");
    await(one, 1, 95, "before");
    await(one, 2, 1, "before");
    await(two, 0, 6, "before");
    await(two, 1, 30000, "before");
    await(two, 2, 1, "before");
    MUST(kill(pids[1], SIGKILL));
    MUST(waitpid(pids[1], NULL, 0));
    await(one, 1, 100, "killed");
    operate(one, 2, 10, 0);
    write_all(go[0][0], &byte, 1);
    MUST(waitpid(pids[0], NULL, 0));
    await(one, 0, 1, "ended");
    await(one, 2, 6, "ended");
    await(two, 1, 0, "ended");
    write_all(go[2][0], &byte, 1);
    MUST(waitpid(pids[2], NULL, 0));
    await(two, 0, 0, "with threads");
    write_all(go[3][0], &byte, 1);
    MUST(waitpid(pids[3], NULL, 0));
    await(two, 2, 1, "nothing to undo");
    /* This process has 4 to give back at its end, and the bound of that shows it. */
    CHECK(semop(one, (struct sembuf[]){{2, 32761, IPC_NOWAIT}, {2, -32764, IPC_NOWAIT | SEM_UNDO}}, 2) < 0 && errno == ERANGE,
          "its own operation is forgotten: %d", errno);
    MUST(semctl(one, 0, IPC_RMID));
    MUST(semctl(two, 0, IPC_RMID));
    return passed();
}
