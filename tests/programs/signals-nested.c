/* A freeze while a handler runs inside another: each level's mask, its registers and errno, and what it
 * had interrupted, come back on the way out. */
#include "check.h"
#include <stdatomic.h>

static atomic_int depth;
static atomic_bool leave;
static volatile int order[4], said;
static int pipe_ends[2];

static bool blocked(int number) {
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, number);
}

static void inner(int number) {
    CHECK(blocked(SIGHUP) && blocked(SIGUSR1) && blocked(SIGTERM) && !blocked(SIGALRM), "the inner mask, before");
    depth = 2;
    while (!leave) sched_yield();
    CHECK(blocked(SIGHUP) && blocked(SIGUSR1) && blocked(SIGTERM) && !blocked(SIGALRM), "the inner mask, after");
    order[said++] = number;
}

static void outer(int number) {
    errno = 77;
    volatile double exact = 0.1;
    depth = 1;
    raise(SIGHUP);
    CHECK(exact == 0.1, "the outer handler's numbers changed");
    CHECK(!blocked(SIGHUP) && blocked(SIGUSR1) && blocked(SIGTERM), "the outer mask");
    order[said++] = number;
    depth = 3;
}

static ssize_t got = -2;
static int number;

static void *run(void *thread) {
    (void)thread;
    char byte;
    sigset_t open;
    sigemptyset(&open);
    sigaddset(&open, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &open, NULL);
    /* The handler interrupts this read, which has to begin again after both handlers. */
    got = read(pipe_ends[0], &byte, 1);
    number = byte;
    CHECK(!blocked(SIGUSR1) && !blocked(SIGTERM) && !blocked(SIGHUP), "the mask after all handlers");
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = outer, .sa_flags = SA_RESTART};
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGUSR1, &action, NULL);
    struct sigaction second = {.sa_handler = inner};
    sigaction(SIGHUP, &second, NULL);
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    MUST(pipe(pipe_ends));
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_kill(thread, SIGUSR1);
    while (depth != 2) sched_yield();
    ready();
    leave = true;
    while (depth != 3) sched_yield();
    write_all(pipe_ends[1], "\11", 1);
    pthread_join(thread, NULL);
    CHECK(order[0] == SIGHUP && order[1] == SIGUSR1 && said == 2, "the handlers ran in another order");
    CHECK(got == 1 && number == 9, "the interrupted read gave %zd", got);
    return passed();
}
