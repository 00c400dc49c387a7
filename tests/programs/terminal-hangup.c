/* Terminals whose other side is gone: a master that was closed, a slave that nobody has open any more, a
 * session whose leader has ended, with /dev/tty still open: it works, but is nobody's. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave, up[2], go[2], end[2];

static int survivor(void *unused) {
    (void)unused;
    signal(SIGHUP, SIG_IGN);
    int tty = MUST(open("/dev/tty", O_RDWR));
    write_all(up[1], "t", 1);
    char byte;
    read_all(go[1], &byte, 1);
    write_all(tty, "by tty ", 7);
    write_all(slave, "by name", 7);
    char line[8];
    CHECK(read(tty, line, sizeof line) == 6 && memcmp(line, "typed\n", 6) == 0, "nothing typed comes any more");
    CHECK(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO, "it has a terminal again: %d", errno);
    write_all(up[1], "s", 1);
    read_all(go[1], &byte, 1);
    return 0;
}

static int leader(void *unused) {
    (void)unused;
    MUST(setsid());
    MUST(ioctl(slave, TIOCSCTTY, 0));
    pid_t pid = fork();
    if (pid == 0) _exit(survivor(NULL));
    char byte;
    read_all(end[0], &byte, 1);
    return 0;
}

int main(void) {
    int closed_master, left, lonely, closed_slave;
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    MUST(openpty(&closed_master, &left, NULL, NULL, NULL));
    MUST(openpty(&lonely, &closed_slave, NULL, NULL, NULL));
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    struct termios quiet;
    MUST(tcgetattr(slave, &quiet));
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    MUST(tcsetattr(slave, TCSANOW, &quiet));
    write_all(closed_slave, "last words", 10);
    close(closed_master);
    close(closed_slave);
    MUST(pipe(up));
    MUST(pipe(end));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(leader, NULL);
    char byte;
    read_all(up[0], &byte, 1);
    write_all(end[1], "x", 1);
    MUST(waitpid(pid, NULL, 0));
    ready();
    char text[16];
    int status;
    CHECK(read(left, text, 1) == 0, "a terminal that nobody shows can be read");
    CHECK(write(left, "x", 1) < 0 && errno == EIO, "and written: %d", errno);
    struct termios t;
    CHECK(tcgetattr(left, &t) < 0 && errno == EIO, "and set: %d", errno);
    struct pollfd one = {left, POLLIN, 0};
    CHECK(poll(&one, 1, 0) == 1 && one.revents & POLLHUP, "no hang-up: %x", one.revents);
    CHECK(read(lonely, text, sizeof text) == 10 && memcmp(text, "last words", 10) == 0, "the last words are lost");
    CHECK(read(lonely, text, 1) < 0 && errno == EIO, "a terminal that nobody writes to is quiet: %d", errno);
    write_all(go[0], "x", 1);
    write_all(master, "typed\n", 6);
    read_all(up[0], &byte, 1);
    CHECK(byte == 's', "the survivor says %c", byte);
    read_all(master, text, 14);
    CHECK(memcmp(text, "by tty by name", 14) == 0, "it shows %.14s", text);
    CHECK(tcgetpgrp(master) <= 0 && ioctl(master, TIOCGSID, &status) < 0, "a session has it again");
    write_all(go[0], "x", 1);
    MUST(wait(&status));
    CHECK(status == 0, "the survivor ended with %x", status);
    return passed();
}
