/* Limits that are used up: memory, data, open files, file size, waiting signals, processes. The program is
 * carried all the same, what it had above them too, and they hold afterwards. */
#include "check.h"
#include <sys/resource.h>

static struct rlimit set(int which, rlim_t soft) {
    struct rlimit now;
    MUST(getrlimit(which, &now));
    now.rlim_cur = soft;
    MUST(setrlimit(which, &now));
    return now;
}

static size_t pages(const char *name) {
    char line[256];
    size_t kb = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0) kb = strtoul(line + strlen(name), NULL, 10);
    if (file) fclose(file);
    return kb * 1024;
}

enum { SIGNALS = 60 };

/* Queues signals for the process and for its thread, more than may wait from now on. */
static struct rlimit queue_signals(void) {
    for (int i = 0; i < SIGNALS; i++) {
        MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
        CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, (union sigval){.sival_int = -i}) == 0, "the test itself");
    }
    struct rlimit limit = set(RLIMIT_SIGPENDING, SIGNALS / 2);
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){0}) < 0 && errno == EAGAIN, "the test itself");
    return limit;
}

static void take_signals(int signal, int sign) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    siginfo_t info;
    for (int i = 0; i < SIGNALS; i++) {
        CHECK(sigtimedwait(&one, &info, &(struct timespec){0}) == signal, "only %d waiting signals are left", i);
        CHECK(info.si_value.sival_int == sign * i && info.si_code == SI_QUEUE, "signal %d says %d", i, info.si_value.sival_int);
    }
    CHECK(sigtimedwait(&one, &info, &(struct timespec){0}) < 0 && errno == EAGAIN, "there are more waiting signals");
}

int main(void) {
    free(malloc(200000));
    sigset_t block;
    sigemptyset(&block);
    sigaddset(&block, SIGRTMIN);
    sigaddset(&block, SIGRTMIN + 1);
    sigaddset(&block, SIGXFSZ);
    MUST(sigprocmask(SIG_BLOCK, &block, NULL));
    int fd = -1, last = -1;
    static char name[4096];
    snprintf(name, sizeof name, "%s", in_folder("file"));
    int file = MUST(open(name, O_RDWR | O_CREAT, 0600));
    set(RLIMIT_NOFILE, 40);
    /* One is left for saying that all is ready. */
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) last = fd;
    CHECK(errno == EMFILE && last == 39, "the test itself");
    close(last);
    static struct rlimit limits[6];
    static const int which[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_NPROC, RLIMIT_SIGPENDING};
    size_t all = pages("VmSize:"), data = pages("VmData:");
    limits[0] = set(RLIMIT_AS, all + 8192);
    limits[1] = set(RLIMIT_DATA, data + 8192);
    MUST(getrlimit(RLIMIT_NOFILE, &limits[2]));
    limits[4] = set(RLIMIT_NPROC, 1);
    limits[3] = set(RLIMIT_FSIZE, 4096);
    limits[5] = queue_signals();
    ready();
    struct rlimit now;
    for (int i = 0; i < 6; i++) {
        MUST(getrlimit(which[i], &now));
        CHECK(now.rlim_cur == limits[i].rlim_cur && now.rlim_max == limits[i].rlim_max, "limit %d is %lu, %lu", which[i],
              (unsigned long)now.rlim_cur, (unsigned long)now.rlim_max);
    }
    CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){0}) < 0 && errno == EAGAIN, "more signals may wait");
    take_signals(SIGRTMIN, 1);
    take_signals(SIGRTMIN + 1, -1);
    CHECK(mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM, "there is more memory");
    CHECK(open("/dev/null", O_RDONLY) == 39 && open("/dev/null", O_RDONLY) < 0 && errno == EMFILE, "there are more files");
    CHECK(pwrite(file, "x", 1, 100000) < 0 && errno == EFBIG, "files may be longer");
    close(39);
    return passed();
}
