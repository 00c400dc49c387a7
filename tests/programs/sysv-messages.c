/* System V message queues: messages of several types and sizes, in order; limit, permissions, key, id, who
 * sent and received last; a queue that is empty, and one that is full. */
#include "check.h"
#include <sys/msg.h>

struct message { long type; char text[8192]; };
static int queue, go[2];

static void put(int id, long type, size_t length, uint64_t seed) {
    struct message message = {.type = type};
    for (size_t i = 0; i < length; i++) message.text[i] = (char)(seed + i * 7);
    MUST(msgsnd(id, &message, length, IPC_NOWAIT));
}

static void take(int id, long wanted, long type, size_t length, uint64_t seed) {
    struct message message;
    ssize_t got = msgrcv(id, &message, sizeof message.text, wanted, IPC_NOWAIT);
    CHECK(got == (ssize_t)length && message.type == type, "a message of type %ld and %zd bytes instead of %ld and %zu",
          got < 0 ? 0 : message.type, got, type, length);
    for (size_t i = 0; i < length; i++) CHECK(message.text[i] == (char)(seed + i * 7), "byte %zu changed", i);
}

static int receives(void *unused) {
    (void)unused;
    char byte = 0;
    take(queue, 0, 99, 1, 0);
    write_all(go[1], &byte, 1);
    read_all(go[1], &byte, 1);
    return 0;
}

int main(void) {
    const key_t key = 0x726f0031;
    int removed = MUST(msgget(IPC_PRIVATE, 0600)), empty = MUST(msgget(IPC_PRIVATE, 0600)), full = MUST(msgget(IPC_PRIVATE, 0620));
    queue = MUST(msgget(key, IPC_CREAT | IPC_EXCL | 0640));
    MUST(msgctl(removed, IPC_RMID, NULL));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    put(queue, 99, 1, 0);
    pid_t pid = child(receives, NULL);
    char byte;
    read_all(go[0], &byte, 1);
    put(queue, 5, 100, 1);
    put(queue, 3, 0, 2);
    put(queue, 5, 5000, 3);
    put(queue, 0x123456789abc, 17, 4);
    put(queue, 3, 33, 5);
    struct msqid_ds data;
    MUST(msgctl(queue, IPC_STAT, &data));
    data.msg_qbytes = 6000;
    MUST(msgctl(queue, IPC_SET, &data));
    for (int i = 0; i < 200; i++) put(full, i + 1, 3, (uint64_t)i);
    put(full, 1, 8192, 1);
    put(full, 1, 7000, 2);
    ready();
    MUST(msgctl(queue, IPC_STAT, &data));
    CHECK(data.msg_qnum == 5 && data.msg_qbytes == 6000 && (data.msg_perm.mode & 0777) == 0640, "%lu messages, limit %lu, mode %o",
          (unsigned long)data.msg_qnum, (unsigned long)data.msg_qbytes, data.msg_perm.mode);
    CHECK(data.msg_lspid == getpid() && data.msg_lrpid == pid, "the last sender is %d, the last receiver %d", data.msg_lspid, data.msg_lrpid);
    CHECK(msgget(key, 0) == queue, "the key leads to another queue");
    take(queue, 3, 3, 0, 2);
    take(queue, -4, 3, 33, 5);
    take(queue, 0, 5, 100, 1);
    take(queue, 0x123456789abc, 0x123456789abc, 17, 4);
    take(queue, 0, 5, 5000, 3);
    struct message message = {.type = 1};
    CHECK(msgrcv(queue, &message, 1, 0, IPC_NOWAIT) < 0 && errno == ENOMSG, "a message too many");
    CHECK(msgsnd(queue, &message, 6001, IPC_NOWAIT) < 0 && errno == EAGAIN, "the limit does not hold");
    MUST(msgctl(empty, IPC_STAT, &data));
    CHECK(data.msg_qnum == 0 && data.msg_lspid == 0 && data.msg_lrpid == 0, "somebody used the empty queue: %d, %d", data.msg_lspid, data.msg_lrpid);
    CHECK(msgctl(removed, IPC_STAT, &data) < 0, "a removed queue is back");
    for (int i = 0; i < 200; i++) take(full, 0, i + 1, 3, (uint64_t)i);
    take(full, 0, 1, 8192, 1);
    take(full, 0, 1, 7000, 2);
    write_all(go[0], &byte, 1);
    MUST(waitpid(pid, NULL, 0));
    int all[] = {queue, empty, full};
    for (int i = 0; i < 3; i++) MUST(msgctl(all[i], IPC_RMID, NULL));
    return passed();
}
