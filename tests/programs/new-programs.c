/* After all, a program starts others as ever: by fork and exec, vfork, posix_spawn and system, from a thread, and
 * becomes another itself. */
#include "check.h"
#include <spawn.h>

extern char **environ;
static int result;

static void expect(pid_t pid, int wanted, const char *how) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == wanted, "by %s it ended with %x", how, status);
}

static void *from_thread(void *path) {
    char *words[] = {path, "11", NULL};
    pid_t pid;
    CHECK(posix_spawn(&pid, path, NULL, NULL, words, environ) == 0, "no program from a thread");
    expect(pid, 11, "posix_spawn in a thread");
    return NULL;
}

int main(int count, char **words) {
    if (count == 2) return atoi(words[1]);
    if (count == 3) {
        /* This is what the program became: the same process, with its blocked signals. */
        CHECK(atoi(words[2]) == getpid(), "it is another process");
        return passed();
    }
    char path[4096] = {0};
    MUST(readlink("/proc/self/exe", path, sizeof path - 1));
    ready();
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl(path, path, "7", NULL);
        _exit(99);
    }
    expect(pid, 7, "fork");
    pid = vfork();
    if (pid == 0) {
        execl(path, path, "8", NULL);
        _exit(99);
    }
    expect(pid, 8, "vfork");
    char *arguments[] = {path, "9", NULL};
    CHECK(posix_spawn(&pid, path, NULL, NULL, arguments, environ) == 0, "no program by posix_spawn");
    expect(pid, 9, "posix_spawn");
    result = system("exit 10");
    CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 10, "by system it ended with %x", result);
    pthread_t thread;
    pthread_create(&thread, NULL, from_thread, path);
    pthread_join(thread, NULL);
    char own[16];
    snprintf(own, sizeof own, "%d", getpid());
    execl(path, path, "becomes", own, NULL);
    failed("it can't become another program");
}
