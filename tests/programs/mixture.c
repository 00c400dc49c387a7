/* Two threads, ten heaps of 100 KiB, fifteen kernel objects and an open file: the benchmark's small program. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

enum { HEAPS = 10, HEAP = 100 << 10, PIPES = 4, EVENTS = 3, PAIRS = 3 };

static volatile uint64_t turns;
static int door[2];

static void *worker(void *unused) {
    (void)unused;
    char word;
    while (read(door[0], &word, 1) == 1) turns++;
    return NULL;
}

int main(void) {
    unsigned char *heaps[HEAPS];
    for (int h = 0; h < HEAPS; h++) {
        heaps[h] = malloc(HEAP);
        for (int i = 0; i < HEAP; i++) heaps[h][i] = (unsigned char)(i * 31 + h);
    }
    CHECK(pipe2(door, O_CLOEXEC) == 0, "no pipe");
    int pipes[PIPES][2], events[EVENTS], pairs[PAIRS][2];
    for (int p = 0; p < PIPES; p++) {
        CHECK(pipe2(pipes[p], O_CLOEXEC) == 0, "no pipe");
        CHECK(write(pipes[p][1], &p, sizeof p) == sizeof p, "a pipe takes nothing");
    }
    for (int e = 0; e < EVENTS; e++) CHECK((events[e] = eventfd(10 + e, EFD_CLOEXEC)) >= 0, "no eventfd");
    for (int s = 0; s < PAIRS; s++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[s]) == 0, "no socket pair");
        CHECK(write(pairs[s][0], &s, sizeof s) == sizeof s, "a socket takes nothing");
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec far = {.it_value = {.tv_sec = 100000}};
    CHECK(timer >= 0 && timerfd_settime(timer, 0, &far, NULL) == 0, "no timer");
    sigset_t hang_up;
    sigemptyset(&hang_up);
    sigaddset(&hang_up, SIGHUP);
    sigprocmask(SIG_BLOCK, &hang_up, NULL);
    int signals = signalfd(-1, &hang_up, SFD_CLOEXEC), memory = memfd_create("memory", MFD_CLOEXEC);
    int polled = epoll_create1(EPOLL_CLOEXEC), watched = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    CHECK(signals >= 0 && memory >= 0 && polled >= 0 && watched >= 0, "no descriptor");
    CHECK(pwrite(memory, "kept", 4, 8192) == 4, "no memory");
    struct epoll_event when = {.events = EPOLLIN, .data.u64 = 77};
    CHECK(epoll_ctl(polled, EPOLL_CTL_ADD, events[0], &when) == 0, "no epoll entry");
    CHECK(inotify_add_watch(watched, in_folder("."), IN_DELETE) >= 0, "no watch");
    int file = open(in_folder("file"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(file >= 0 && write(file, "0123456789", 10) == 10 && lseek(file, 4, SEEK_SET) == 4, "no file");
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, worker, NULL) == 0, "no thread");

    ready();

    for (int h = 0; h < HEAPS; h++)
        for (int i = 0; i < HEAP; i++)
            CHECK(heaps[h][i] == (unsigned char)(i * 31 + h), "heap %d differs at %d", h, i);
    int number;
    for (int p = 0; p < PIPES; p++)
        CHECK(read(pipes[p][0], &number, sizeof number) == sizeof number && number == p, "pipe %d", p);
    for (int s = 0; s < PAIRS; s++)
        CHECK(read(pairs[s][1], &number, sizeof number) == sizeof number && number == s, "socket %d", s);
    struct epoll_event seen;
    CHECK(epoll_wait(polled, &seen, 1, 10000) == 1 && seen.data.u64 == 77, "epoll sees nothing");
    uint64_t count;
    for (int e = 0; e < EVENTS; e++)
        CHECK(read(events[e], &count, 8) == 8 && count == 10u + (unsigned)e, "eventfd %d", e);
    struct itimerspec left;
    CHECK(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec > 0, "the timer is gone");
    struct signalfd_siginfo info;
    kill(getpid(), SIGHUP);
    CHECK(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGHUP, "no signal");
    char text[8] = "";
    CHECK(pread(memory, text, 4, 8192) == 4 && !strcmp(text, "kept"), "the memory file holds %s", text);
    CHECK(read(file, text, 3) == 3 && !memcmp(text, "456", 3), "the file is read elsewhere");
    unlink(in_folder("file"));
    char event[4096];
    CHECK(read(watched, event, sizeof event) > 0, "the watch sees nothing");
    CHECK(write(door[1], "go", 2) == 2 && close(door[1]) == 0, "the door is shut");
    pthread_join(thread, NULL);
    CHECK(turns == 2, "the thread turned %llu times", (unsigned long long)turns);
    passed();
}
