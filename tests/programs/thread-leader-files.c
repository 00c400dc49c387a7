/* Open files of /proc about the first thread of a process that has others, and its handle. */
#include "check.h"
#include <poll.h>

static pthread_barrier_t down;

static void *run(void *unused) {
    (void)unused;
    pthread_barrier_wait(&down);
    return NULL;
}

int main(void) {
    pthread_barrier_init(&down, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    char path[64], text[4096], *line;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", getpid());
    int status = MUST(open(path, O_RDONLY | O_CLOEXEC)), folder = MUST(open("/proc/self/task", O_RDONLY | O_DIRECTORY));
    int handle = (int)syscall(SYS_pidfd_open, getpid(), O_EXCL /* PIDFD_THREAD, from Linux 6.9 on */);
    CHECK(handle >= 0 || errno == EINVAL, "no handle of the first thread");
    ready();
    text[MUST(read(status, text, sizeof text - 1))] = 0;
    CHECK((line = strstr(text, "\nPid:\t")) && atoi(line + 6) == getpid(), "it is of another: %s", text);
    snprintf(path, sizeof path, "%d/comm", getpid());
    CHECK(faccessat(folder, path, F_OK, 0) == 0, "the folder is of another process");
    struct pollfd one = {.fd = handle, .events = POLLIN};
    CHECK(handle < 0 || poll(&one, 1, 0) == 0, "the first thread seems to have ended");
    pthread_barrier_wait(&down);
    pthread_join(thread, NULL);
    return passed();
}
