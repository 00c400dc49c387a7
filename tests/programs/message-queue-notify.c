/* Notifications of POSIX message queues (mq_notify): by a signal with a value, by a thread of the C library's, by nothing;
 * each is still asked for, so nobody else may, comes with its value, comes once, and can be asked for again. */
#include "check.h"
#include <mqueue.h>

enum { SIGNAL = 3 };
static struct timespec limit = {20, 0}, none;
static const char *const names[] = {"/roam-signal", "/roam-thread", "/roam-nothing", "/roam-child"};
static mqd_t queues[4];

static void put(mqd_t queue) { MUST(mq_send(queue, "x", 1, 0)); }

static void take(mqd_t queue) {
    char room[64];
    CHECK(mq_receive(queue, room, sizeof room, NULL) == 1, "the message is lost");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t came = PTHREAD_COND_INITIALIZER;
static int threads;

static void in_thread(union sigval value) {
    CHECK(value.sival_ptr == &threads, "a thread is told %p", value.sival_ptr);
    pthread_mutex_lock(&lock);
    threads++;
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
}

static void await_thread(int count) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&lock);
    while (threads < count) CHECK(pthread_cond_timedwait(&came, &lock, &until) == 0, "no thread was started");
    pthread_mutex_unlock(&lock);
}

static void ask_for_signal(mqd_t queue, void *value) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + SIGNAL};
    event.sigev_value.sival_ptr = value;
    MUST(mq_notify(queue, &event));
}

static void ask_for_thread(mqd_t queue) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = in_thread};
    event.sigev_value.sival_ptr = &threads;
    MUST(mq_notify(queue, &event));
}

static void await_signal(void *value) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + SIGNAL);
    CHECK(sigtimedwait(&set, &info, &limit) == SIGRTMIN + SIGNAL, "nobody was notified");
    CHECK(info.si_code == SI_MESGQ && info.si_value.sival_ptr == value, "code %d, value %p", info.si_code, info.si_value.sival_ptr);
    CHECK(sigtimedwait(&set, &info, &none) < 0, "it is notified twice");
}

static void nobody_else(mqd_t queue, const char *name) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    CHECK(mq_notify(queue, &event) < 0 && errno == EBUSY, "the notification of %s is forgotten", name);
}

static int go[2], back[2];

/* A process with a notification of its own. */
static int other(void *unused) {
    char byte;
    (void)unused;
    ask_for_signal(queues[3], &queues[3]);
    write_all(back[1], "r", 1);
    read_all(go[0], &byte, 1);
    await_signal(&queues[3]);
    write_all(back[1], "d", 1);
    return 0;
}

int main(void) {
    struct mq_attr small = {.mq_maxmsg = 4, .mq_msgsize = 64};
    char byte;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + SIGNAL);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    MUST(pipe(go));
    MUST(pipe(back));
    for (int i = 0; i < 4; i++) {
        mq_unlink(names[i]);
        queues[i] = MUST(mq_open(names[i], O_RDWR | O_CREAT | O_EXCL, 0600, &small));
        if (i > 0) MUST(mq_unlink(names[i]));
    }
    /* Once before, with another value: the last one counts. */
    ask_for_signal(queues[0], &limit);
    put(queues[0]);
    await_signal(&limit);
    take(queues[0]);
    ask_for_signal(queues[0], &queues[0]);
    ask_for_thread(queues[1]);
    struct sigevent nothing = {.sigev_notify = SIGEV_NONE};
    MUST(mq_notify(queues[2], &nothing));
    pid_t pid = child(other, NULL);
    read_all(back[0], &byte, 1);
    ready();
    for (int i = 0; i < 4; i++) nobody_else(queues[i], names[i]);
    put(queues[0]);
    await_signal(&queues[0]);
    take(queues[0]);
    ask_for_signal(queues[0], &queues[1]);
    nobody_else(queues[0], names[0]);
    put(queues[0]);
    await_signal(&queues[1]);
    put(queues[1]);
    await_thread(1);
    take(queues[1]);
    ask_for_thread(queues[1]);
    put(queues[1]);
    await_thread(2);
    put(queues[2]);
    MUST(mq_notify(queues[2], &nothing));
    MUST(mq_notify(queues[2], NULL));
    put(queues[3]);
    write_all(go[1], "x", 1);
    read_all(back[0], &byte, 1);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
    MUST(mq_unlink(names[0]));
    return passed();
}
