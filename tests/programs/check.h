/* What every self-checking program shares.
 *
 * A program builds what it is about, calls ready(), and is told to check by SIGUSR2, which it waits
 * for in sigwaitinfo(): the wait needs no descriptor and no file, so it adds nothing to what has to
 * be carried, and `kill` reaches it the same way when it runs alone, in a session, or after a move.
 * Between ready() and the signal a session may be parked, resumed and moved any number of times; the
 * program never knows. Then it looks at everything again, does something with it, and ends with
 * passed() or a failed CHECK.
 *
 * Files in $ROAM_TEST_DIR: `ready` holds the pid to signal; `result` holds PASS or FAIL: reason.
 * Both are written under another name and renamed, so that whoever sees them sees them whole.
 */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t check_main_pid;

/* A path in the test's folder. The string lives on. */
__attribute__((unused)) static char *in_folder(const char *name) {
    const char *folder = getenv("ROAM_TEST_DIR");
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder ? folder : ".", name) < 0) abort();
    return path;
}

static void check_say(const char *name, const char *text) {
    char *path = in_folder(name), *new = NULL;
    if (asprintf(&new, "%s.new", path) < 0) abort();
    int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd) < 0 || rename(new, path) < 0) {
        perror(path);
        _exit(2);
    }
    free(path);
    free(new);
}

/* Ends the program with FAIL. A child process says it for all. */
__attribute__((unused, noreturn, format(printf, 1, 2))) static void failed(const char *format, ...) {
    char *reason = NULL, *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&reason, format, arguments) < 0) abort();
    va_end(arguments);
    if (asprintf(&text, "FAIL: %s\n", reason) < 0) abort();
    fputs(text, stdout);
    fflush(stdout);
    check_say("result", text);
    if (getpid() != check_main_pid) kill(check_main_pid, SIGKILL);
    _exit(1);
}

/* CHECK(what must be so, "what it means that it is not", …) */
#define CHECK(condition, ...)                                                                              \
    do {                                                                                                   \
        if (!(condition)) {                                                                                \
            int check_errno = errno;                                                                       \
            char *check_text = NULL;                                                                       \
            if (asprintf(&check_text, __VA_ARGS__) < 0) abort();                                           \
            failed("%s (%s:%d: %s; errno %d, %s)", check_text, __FILE__, __LINE__, #condition, check_errno, \
                   strerror(check_errno));                                                                 \
        }                                                                                                  \
    } while (0)

/* MUST(a call that has to work): its value. */
#define MUST(call)                                              \
    ({                                                          \
        __typeof__(call) must_value = (call);                   \
        CHECK(must_value != (__typeof__(call))-1, "it failed"); \
        must_value;                                             \
    })

/* Before main and before any thread: everyone inherits the blocked signal. */
__attribute__((constructor)) static void check_begin(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    check_main_pid = getpid();
}

/* All is prepared: says so and returns once the check is asked for. */
__attribute__((unused)) static void ready(void) {
    char *text = NULL;
    if (asprintf(&text, "%d\n", getpid()) < 0) abort();
    puts("ready");
    fflush(stdout);
    check_say("ready", text);
    free(text);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    while (sigwaitinfo(&set, NULL) != SIGUSR2) {
        /* EINTR is a stop, not the signal. */
    }
}

/* Says before ready() that this can't be carried, and a part of the reason that the user must be told: the
 * session must be refused for it and go on as if nothing had been. Programs that say so are called
 * refused-SOMETHING. */
__attribute__((unused)) static void expect_refusal(const char *words) { check_say("refused", words); }

/* The same for a descriptor of this process, which the user must be told as well. */
__attribute__((unused)) static void expect_refusal_of(int fd, const char *words) {
    char text[32];
    snprintf(text, sizeof text, "descriptor %d", fd);
    check_say("refused-what", text);
    expect_refusal(words);
}

/* What can't be known before the session stands still: it is refused then. */
__attribute__((unused)) static void expect_refusal_late(const char *words) {
    check_say("refused-late", "");
    expect_refusal(words);
}

/* The last thing that main says. */
__attribute__((unused)) static int passed(void) {
    puts("PASS");
    fflush(stdout);
    check_say("result", "PASS\n");
    return 0;
}

/* Bytes that depend on their place and a seed, so that a page put elsewhere is noticed. */
__attribute__((unused)) static void fill(void *memory, size_t length, uint64_t seed) {
    uint64_t *word = memory;
    for (size_t i = 0; i < length / 8; i++) word[i] = (i + seed) * 0x9e3779b97f4a7c15u ^ seed;
}

__attribute__((unused)) static bool is_filled(const void *memory, size_t length, uint64_t seed) {
    const uint64_t *word = memory;
    for (size_t i = 0; i < length / 8; i++)
        if (word[i] != ((i + seed) * 0x9e3779b97f4a7c15u ^ seed)) return false;
    return true;
}

__attribute__((unused)) static int64_t clock_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

__attribute__((unused)) static int64_t now_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

/* A child process that runs `body` and exits with its value; it dies with its parent. */
#include <sys/prctl.h>
__attribute__((unused)) static pid_t child(int (*body)(void *), void *argument) {
    pid_t pid = fork();
    CHECK(pid >= 0, "no child");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(body(argument));
    }
    return pid;
}

/* Ends a child that was only there to be there. */
__attribute__((unused)) static void end_child(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* The system call that a thread of a process waits in; -1 while it runs. */
__attribute__((unused)) static long call_of(pid_t pid, pid_t tid) {
    char path[64], text[64] = {0};
    snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", pid, tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && text[0] >= '0' && text[0] <= '9' ? atol(text) : -1;
}

/* Reads exactly so many bytes. */
__attribute__((unused)) static void read_all(int fd, void *memory, size_t length) {
    char *at = memory;
    while (length > 0) {
        ssize_t got = read(fd, at, length);
        if (got < 0 && errno == EINTR) continue;
        CHECK(got > 0, "descriptor %d ended %zu bytes early", fd, length);
        at += got;
        length -= (size_t)got;
    }
}

__attribute__((unused)) static void write_all(int fd, const void *memory, size_t length) {
    const char *at = memory;
    while (length > 0) {
        ssize_t put = write(fd, at, length);
        if (put < 0 && errno == EINTR) continue;
        CHECK(put > 0, "descriptor %d takes no more", fd);
        at += put;
        length -= (size_t)put;
    }
}

#endif
