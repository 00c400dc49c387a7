/* Calls that wait for ever, in processes of their own: read, write, accept, recv, wait, flock, open. */
#include "check.h"
#include <sys/file.h>
#include <sys/un.h>

static int readable[2], writable[2], pair[2], listener, locked;
static struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "/tmp/roam-test-blocked"};

static int in_read(void *unused) {
    (void)unused;
    char byte;
    return read(readable[0], &byte, 1) == 1 ? byte : 1;
}
static int in_write(void *unused) {
    (void)unused;
    return write(writable[1], "x", 1) == 1 ? 2 : 1;
}
static int in_recv(void *unused) {
    (void)unused;
    char bytes[8];
    ssize_t got = 0, more;
    /* A stop may end MSG_WAITALL early with what has come, as it always may. */
    while (got < 8 && (more = recv(pair[0], bytes + got, (size_t)(8 - got), MSG_WAITALL)) > 0) got += more;
    return got == 8 && memcmp(bytes, "halfrest", 8) == 0 ? 3 : 1;
}
static int in_accept(void *unused) {
    (void)unused;
    return accept(listener, NULL, NULL) >= 0 ? 4 : 1;
}
static int sleeper(void *unused) {
    (void)unused;
    while (pause() < 0) {
    }
    return 0;
}
static int in_wait(void *unused) {
    (void)unused;
    pid_t pid = child(sleeper, NULL);
    char text[16];
    snprintf(text, sizeof text, "%d", pid);
    check_say("sleeper", text);
    int status;
    return waitpid(pid, &status, 0) == pid && WTERMSIG(status) == SIGTERM ? 5 : 1;
}
static int in_flock(void *unused) {
    (void)unused;
    int fd = open(in_folder("lock"), O_RDWR);
    return flock(fd, LOCK_EX) == 0 ? 6 : 1;
}

int main(void) {
    MUST(pipe(readable));
    MUST(pipe2(writable, O_NONBLOCK));
    char block[4096] = {0};
    while (write(writable[1], block, sizeof block) > 0) {
    }
    while (write(writable[1], block, 1) > 0) {
    }
    MUST(fcntl(writable[1], F_SETFL, 0));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    write_all(pair[1], "half", 4);
    unlink(name.sun_path);
    listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(listen(listener, 4));
    locked = MUST(open(in_folder("lock"), O_RDWR | O_CREAT, 0600));
    MUST(flock(locked, LOCK_EX));
    pid_t pids[] = {child(in_read, NULL), child(in_write, NULL), child(in_recv, NULL),
                    child(in_accept, NULL), child(in_wait, NULL), child(in_flock, NULL)};
    ready();
    write_all(readable[1], "\7", 1);
    char rest[65536];
    MUST(read(writable[0], rest, sizeof rest));
    write_all(pair[1], "rest", 4);
    int caller = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(caller, (struct sockaddr *)&name, sizeof name));
    int fd = MUST(open(in_folder("sleeper"), O_RDONLY));
    char text[16] = {0};
    MUST(read(fd, text, sizeof text - 1));
    MUST(kill(atoi(text), SIGTERM));
    MUST(flock(locked, LOCK_UN));
    int wanted[] = {7, 2, 3, 4, 5, 6};
    for (int i = 0; i < 6; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == wanted[i], "call %d ended with %x", i, status);
    }
    unlink(name.sun_path);
    return passed();
}
