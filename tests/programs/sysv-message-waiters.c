/* Processes that wait at message queues: for any message, for one of a type, for room; for one removed. */
#include "check.h"
#include <sys/msg.h>

struct message { long type; char text[8192]; };
static int empty, full, doomed;

static int for_any(void *unused) {
    (void)unused;
    struct message message;
    return msgrcv(empty, &message, 100, -8, 0) == 3 && message.type == 8 && memcmp(message.text, "any", 3) == 0 ? 0 : 1;
}
static int for_type(void *unused) {
    (void)unused;
    struct message message;
    return msgrcv(empty, &message, 100, 77, 0) == 4 && memcmp(message.text, "type", 4) == 0 ? 0 : 1;
}
static int for_room(void *unused) {
    (void)unused;
    struct message message = {.type = 9};
    memset(message.text, 'r', sizeof message.text);
    return msgsnd(full, &message, sizeof message.text, 0) == 0 ? 0 : 1;
}
static int is_removed(void *unused) {
    (void)unused;
    struct message message;
    return msgrcv(doomed, &message, 100, 0, 0) < 0 && errno == EIDRM ? 0 : 1;
}

static int (*const bodies[])(void *) = {for_any, for_type, for_room, is_removed};
enum { ALL = sizeof bodies / sizeof *bodies };

int main(void) {
    empty = MUST(msgget(IPC_PRIVATE, 0600));
    full = MUST(msgget(IPC_PRIVATE, 0600));
    doomed = MUST(msgget(IPC_PRIVATE, 0600));
    struct message message = {.type = 6};
    memset(message.text, 'f', sizeof message.text);
    while (msgsnd(full, &message, sizeof message.text, IPC_NOWAIT) == 0) {
    }
    CHECK(errno == EAGAIN, "the test itself");
    pid_t pids[ALL];
    for (int i = 0; i < ALL; i++) {
        pids[i] = child(bodies[i], NULL);
        while (call_of(pids[i], pids[i]) != (bodies[i] == for_room ? SYS_msgsnd : SYS_msgrcv)) sched_yield();
    }
    ready();
    for (int i = 0; i < ALL; i++) CHECK(waitpid(pids[i], NULL, WNOHANG) == 0, "waiter %d did not wait", i);
    MUST(msgsnd(empty, &(struct message){77, "type"}, 4, 0));
    MUST(msgsnd(empty, &(struct message){8, "any"}, 3, 0));
    MUST(msgctl(doomed, IPC_RMID, NULL));
    int texts = 0;
    for (; texts < 2; texts++) CHECK(msgrcv(full, &message, sizeof message.text, 6, IPC_NOWAIT) == sizeof message.text && message.text[5] == 'f', "what was queued is lost");
    CHECK(msgrcv(full, &message, sizeof message.text, 9, 0) == sizeof message.text && message.text[5] == 'r', "the sender that waited sent nothing");
    for (int i = 0; i < ALL; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "waiter %d ended with %x", i, status);
    }
    MUST(msgctl(empty, IPC_RMID, NULL));
    MUST(msgctl(full, IPC_RMID, NULL));
    return passed();
}
