/* Waits that end at a date or after a time, in every family that has one; each lasts as long as it should and
 * says that it was the time. */
#include "proc.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <sys/select.h>

enum { WAIT = 2500 };
static int ends[2];

static struct timespec after(clockid_t clock) {
    struct timespec end;
    clock_gettime(clock, &end);
    end.tv_sec += WAIT / 1000;
    end.tv_nsec += WAIT % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) end.tv_sec++, end.tv_nsec -= 1000000000;
    return end;
}
static const struct timespec span = {WAIT / 1000, WAIT % 1000 * 1000000};

static int by_nanosleep(void) { return nanosleep(&span, NULL) == 0; }
static int by_relative(void) { return clock_nanosleep(CLOCK_BOOTTIME, 0, &span, NULL) == 0; }
static int by_absolute(void) { struct timespec end = after(CLOCK_MONOTONIC); return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == 0; }
static int by_sigtimedwait(void) { sigset_t set; sigemptyset(&set); sigaddset(&set, SIGRTMIN); return sigtimedwait(&set, NULL, &span) < 0 && errno == EAGAIN; }
static int by_pselect(void) { fd_set in; FD_ZERO(&in); FD_SET(ends[0], &in); return pselect(ends[0] + 1, &in, NULL, NULL, &span, NULL) == 0; }
static int by_bitset(void) {
    uint32_t word = 3;
    struct timespec end = after(CLOCK_MONOTONIC);
    return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 3, &end, NULL, FUTEX_BITSET_MATCH_ANY) < 0 && errno == ETIMEDOUT;
}
static int by_mutex(void) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    struct timespec end = after(CLOCK_MONOTONIC);
    return pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &end) == ETIMEDOUT;
}
static int by_socket(void) {
    int pair[2];
    char byte;
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    struct timeval limit = {WAIT / 1000, WAIT % 1000 * 1000};
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    return recv(pair[0], &byte, 1, 0) < 0 && errno == EAGAIN;
}

static const struct { const char *name; int (*wait)(void); } ways[] = {
    {"nanosleep", by_nanosleep}, {"clock_nanosleep", by_relative}, {"clock_nanosleep till a date", by_absolute},
    {"sigtimedwait", by_sigtimedwait}, {"pselect", by_pselect}, {"futex bitset", by_bitset},
    {"pthread_mutex_clocklock", by_mutex}, {"recv", by_socket},
};
enum { WAYS = sizeof ways / sizeof *ways };
static struct { int answer, number; int64_t took; } results[WAYS];

static void *run(void *way) {
    size_t i = (size_t)way;
    int64_t start = now_ms();
    results[i].answer = ways[i].wait();
    results[i].number = errno;
    results[i].took = now_ms() - start;
    return NULL;
}

int main(void) {
    MUST(pipe(ends));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t threads[WAYS];
    for (size_t i = 0; i < WAYS; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    ready();
    for (size_t i = 0; i < WAYS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(results[i].answer == 1, "%s ended otherwise, errno %d", ways[i].name, results[i].number);
        CHECK(results[i].took >= WAIT - 1, "%s took %lld ms", ways[i].name, (long long)results[i].took);
    }
    return passed();
}
