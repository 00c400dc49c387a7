/* A file of /proc about a thread that is in flight in a socket. */
#include "check.h"

static pthread_barrier_t up, down;
static pid_t tid;

static void *run(void *unused) {
    (void)unused;
    tid = gettid();
    pthread_barrier_wait(&up);
    pthread_barrier_wait(&down);
    return NULL;
}

int main(void) {
    pthread_barrier_init(&up, NULL, 2);
    pthread_barrier_init(&down, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&up);
    int ends[2];
    char path[64], text[64], byte = 'f', control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
    int file = MUST(open(path, O_RDONLY));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_len = CMSG_LEN(sizeof file);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(head), &file, sizeof file);
    MUST(sendmsg(ends[0], &message, 0));
    expect_refusal_late("it is about a thread and in flight in a socket");
    ready();
    message.msg_controllen = sizeof control;
    MUST(recvmsg(ends[1], &message, 0));
    memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof file);
    CHECK(MUST(read(file, text, sizeof text)) > 1, "the file is empty");
    pthread_barrier_wait(&down);
    pthread_join(thread, NULL);
    return passed();
}
