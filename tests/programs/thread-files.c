/* Open files of /proc about a thread that is not its process's first: half read, shared with a child, only a
 * place (O_PATH), and the thread's folder. */
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

static int go[2];

/* Moves on in the file that it has in common with its parent. */
static int other(void *file) {
    char text[16];
    read_all(go[1], text, 1);
    read_all(*(int *)file, text, 5);
    write_all(go[1], "x", 1);
    read_all(go[1], text, 1);
    return 0;
}

int main(void) {
    pthread_barrier_init(&up, NULL, 2);
    pthread_barrier_init(&down, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&up);
    char path[64], text[4096], *line;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    int status = MUST(open(path, O_RDONLY | O_CLOEXEC));
    snprintf(path, sizeof path, "/proc/%d/comm", tid);
    int name = MUST(open(path, O_RDWR));
    snprintf(path, sizeof path, "/proc/self/task/%d", tid);
    int folder = MUST(open(path, O_RDONLY | O_DIRECTORY));
    int place = MUST(open(path, O_PATH));
    read_all(status, text, 6);
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(other, &status);
    ready();
    write_all(go[0], "x", 1);
    read_all(go[0], text, 1);
    CHECK(lseek(status, 0, SEEK_CUR) == 11, "the status is at %lld", (long long)lseek(status, 0, SEEK_CUR));
    MUST(lseek(status, 0, SEEK_SET));
    text[MUST(read(status, text, sizeof text - 1))] = 0;
    CHECK((line = strstr(text, "\nPid:\t")) && atoi(line + 6) == tid, "it is of another thread: %s", text);
    write_all(name, "renamed", 7);
    pthread_getname_np(thread, text, sizeof text);
    CHECK(strcmp(text, "renamed") == 0, "the thread is called %s", text);
    int again = MUST(openat(folder, "comm", O_RDONLY));
    text[MUST(read(again, text, sizeof text - 1))] = 0;
    CHECK(strcmp(text, "renamed\n") == 0, "the folder is of %s", text);
    CHECK(faccessat(place, "comm", F_OK, 0) == 0, "the place is another");
    write_all(go[0], "x", 1);
    int ended;
    MUST(waitpid(pid, &ended, 0));
    CHECK(ended == 0, "the child ended with %x", ended);
    pthread_barrier_wait(&down);
    pthread_join(thread, NULL);
    return passed();
}
