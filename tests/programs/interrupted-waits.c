/* poll, select, epoll_wait, futex and semaphore waits with a time-out that a freeze interrupts: they
 * wait for the whole time and not from the start again, and none says EINTR. */
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

enum { WAIT = 4000 };
static int ends[2];

static int by_poll(void) {
    struct pollfd fd = {ends[0], POLLIN, 0};
    return poll(&fd, 1, WAIT);
}
static int by_ppoll(void) {
    struct pollfd fd = {ends[0], POLLIN, 0};
    return ppoll(&fd, 1, &(struct timespec){WAIT / 1000, 0}, NULL);
}
static int by_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    return select(ends[0] + 1, &set, NULL, NULL, &(struct timeval){WAIT / 1000, 0});
}
static int by_epoll(void) {
    int epoll = MUST(epoll_create1(0)), answer;
    MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &(struct epoll_event){.events = EPOLLIN}));
    struct epoll_event event;
    answer = epoll_wait(epoll, &event, 1, WAIT);
    close(epoll);
    return answer;
}
static int by_futex(void) {
    uint32_t word = 7;
    long answer = syscall(SYS_futex, &word, FUTEX_WAIT, 7, &(struct timespec){WAIT / 1000, 0}, NULL, 0);
    return answer < 0 && errno == ETIMEDOUT ? 0 : (int)answer;
}
static int by_semaphore(void) {
    sem_t semaphore;
    sem_init(&semaphore, 0, 0);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT / 1000;
    int answer = sem_timedwait(&semaphore, &end);
    return answer < 0 && errno == ETIMEDOUT ? 0 : answer;
}
static int by_condition(void) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t attribute;
    pthread_cond_t condition;
    pthread_condattr_init(&attribute);
    pthread_condattr_setclock(&attribute, CLOCK_MONOTONIC);
    pthread_cond_init(&condition, &attribute);
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += WAIT / 1000;
    pthread_mutex_lock(&mutex);
    int answer;
    while ((answer = pthread_cond_timedwait(&condition, &mutex, &end)) == 0) {
    }
    return answer == ETIMEDOUT ? 0 : answer;
}

static const struct { const char *name; int (*wait)(void); } ways[] = {
    {"poll", by_poll}, {"ppoll", by_ppoll}, {"select", by_select}, {"epoll_wait", by_epoll},
    {"futex", by_futex}, {"sem_timedwait", by_semaphore}, {"pthread_cond_timedwait", by_condition},
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
    pthread_t threads[WAYS];
    for (size_t i = 0; i < WAYS; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    ready();
    for (size_t i = 0; i < WAYS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(results[i].answer == 0, "%s answered %d, errno %d", ways[i].name, results[i].answer, results[i].number);
        CHECK(results[i].took < WAIT + 56000, "%s took %lld ms", ways[i].name, (long long)results[i].took);
        /* The date may be set while a session sleeps, so a wait for a date may end early. */
        CHECK(ways[i].wait == by_semaphore || results[i].took >= WAIT - 1, "%s took %lld ms", ways[i].name, (long long)results[i].took);
    }
    return passed();
}
