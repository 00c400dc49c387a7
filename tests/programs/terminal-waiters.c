/* Processes that wait at a terminal: for a line, for output, for room; and one in the background, stopped because it
 * wanted to read. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave, full_master, full_slave, up[2];

static int background(void *unused) {
    (void)unused;
    setpgid(0, 0);
    char text[32] = {0};
    /* Stopped by SIGTTIN here, until it is in the foreground and continued. */
    ssize_t got = read(slave, text, sizeof text);
    return got == 8 && memcmp(text, "for you\n", 8) == 0 ? 0 : 1;
}

static int reader(void *unused) {
    (void)unused;
    char text[32] = {0};
    ssize_t got = read(slave, text, sizeof text);
    return got == 11 && memcmp(text, "first line\n", 11) == 0 ? 0 : 1;
}

static int leader(void *unused) {
    (void)unused;
    MUST(setsid());
    MUST(ioctl(slave, TIOCSCTTY, 0));
    signal(SIGTTOU, SIG_IGN);
    pid_t behind = child(background, NULL), front = child(reader, NULL);
    int status;
    CHECK(waitpid(behind, &status, WUNTRACED) == behind && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN, "the test itself");
    while (call_of(front, front) != SYS_read) sched_yield();
    write_all(up[1], "r", 1);
    while (waitpid(front, &status, 0) < 0) CHECK(errno == EINTR, "the reader is lost");
    CHECK(status == 0, "the reader ended with %x", status);
    CHECK(waitpid(behind, &status, WUNTRACED | WNOHANG) == 0, "the background job is told of: %x", status);
    MUST(tcsetpgrp(slave, behind));
    MUST(kill(-behind, SIGCONT));
    write_all(up[1], "c", 1);
    while (waitpid(behind, &status, 0) < 0) CHECK(errno == EINTR, "the job is lost");
    CHECK(status == 0, "the job ended with %x", status);
    return 0;
}

static int writes(void *unused) {
    (void)unused;
    write_all(full_slave, "END", 3);
    return 0;
}

static int watches(void *unused) {
    (void)unused;
    char byte;
    return read(master, &byte, 1) == 1 && byte == 'f' ? 0 : 1;
}

int main(void) {
    struct termios t;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    MUST(tcgetattr(slave, &t));
    MUST(openpty(&full_master, &full_slave, NULL, NULL, NULL));
    cfmakeraw(&t);
    MUST(tcsetattr(full_slave, TCSANOW, &t));
    MUST(fcntl(full_slave, F_SETFL, O_NONBLOCK));
    size_t filled = 0, before;
    ssize_t put;
    static char block[4096];
    memset(block, 'f', sizeof block);
    /* What is full may have room again once the kernel has passed some of it on. */
    do {
        before = filled;
        while ((put = write(full_slave, block, sizeof block)) > 0) filled += (size_t)put;
        while ((put = write(full_slave, block, 1)) > 0) filled += (size_t)put;
        poll(&(struct pollfd){full_slave, POLLOUT, 0}, 1, 200);
    } while (filled > before);
    MUST(fcntl(full_slave, F_SETFL, 0));
    MUST(pipe(up));
    pid_t pids[] = {child(leader, NULL), child(writes, NULL), child(watches, NULL)};
    char byte;
    read_all(up[0], &byte, 1);
    while (call_of(pids[1], pids[1]) != SYS_write || call_of(pids[2], pids[2]) != SYS_read) sched_yield();
    ready();
    int status;
    CHECK(waitpid(pids[2], &status, WNOHANG) == 0, "the watcher saw something: %x", status);
    size_t seen = 0;
    char text[4096], end[3] = {0};
    while (seen < filled + 3) {
        ssize_t got = MUST(read(full_master, text, sizeof text));
        for (ssize_t i = 0; i < got; i++, seen++) {
            if (seen < filled) CHECK(text[i] == 'f', "byte %zu changed", seen);
            else end[seen - filled] = text[i];
        }
    }
    CHECK(memcmp(end, "END", 3) == 0, "the writer that waited wrote %.3s", end);
    MUST(waitpid(pids[1], &status, 0));
    write_all(master, "first line\n", 11);
    MUST(waitpid(pids[2], &status, 0));
    CHECK(status == 0, "the watcher saw another thing: %x", status);
    read_all(up[0], &byte, 1);
    CHECK(byte == 'c', "the session says %c", byte);
    write_all(master, "for you\n", 8);
    MUST(waitpid(pids[0], &status, 0));
    CHECK(status == 0, "the session's leader ended with %x", status);
    return passed();
}
