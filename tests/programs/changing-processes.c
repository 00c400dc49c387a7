/* Processes and threads that come and go all the time. */
#include "check.h"
#include <stdatomic.h>

static atomic_bool stop;
static _Atomic(uint64_t) forked, threaded;

static int short_lived(void *number) { return (int)(uintptr_t)number & 0x7f; }
static void *nothing(void *value) { return value; }

static void *forks(void *unused) {
    (void)unused;
    while (!stop) {
        uintptr_t number = forked & 0x7f;
        pid_t pid = child(short_lived, (void *)number);
        int status;
        pid_t got;
        while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
        }
        CHECK(got == pid && WIFEXITED(status) && WEXITSTATUS(status) == (int)number, "a child ended with %x", status);
        forked++;
    }
    return NULL;
}

static void *threads(void *unused) {
    (void)unused;
    while (!stop) {
        pthread_t thread;
        void *value = NULL;
        CHECK(pthread_create(&thread, NULL, nothing, &stop) == 0, "no thread");
        CHECK(pthread_join(thread, &value) == 0 && value == &stop, "a thread ended otherwise");
        threaded++;
    }
    return NULL;
}

int main(void) {
    pthread_t one, two;
    pthread_create(&one, NULL, forks, NULL);
    pthread_create(&two, NULL, threads, NULL);
    while (forked < 20 || threaded < 20) sched_yield();
    ready();
    uint64_t a = forked, b = threaded;
    while (forked < a + 20 || threaded < b + 20) sched_yield();
    stop = true;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return passed();
}
