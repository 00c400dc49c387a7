/* A session with a controlling terminal: foreground group, Ctrl+C, /dev/tty, window size signal. */
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave, up[2];
static volatile sig_atomic_t resized;
static void on_resize(int number) { (void)number; resized = 1; }

static int foreground(void *unused) {
    (void)unused;
    setpgid(0, 0);
    signal(SIGTTOU, SIG_IGN);
    MUST(tcsetpgrp(slave, getpgrp()));
    signal(SIGINT, SIG_DFL);
    write_all(up[1], "x", 1);
    while (pause() < 0) {
    }
    return 0;
}

static int leader(void *unused) {
    (void)unused;
    close(master);
    MUST(setsid());
    MUST(ioctl(slave, TIOCSCTTY, 0));
    struct sigaction action = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    sigaction(SIGWINCH, &action, NULL);
    signal(SIGTTOU, SIG_IGN);
    pid_t pid = child(foreground, NULL), session = getsid(0);
    int status;
    /* Interrupted by Ctrl+C at the master, after the move. */
    while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR, "the foreground job is lost");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "Ctrl+C did otherwise: %x", status);
    CHECK(getsid(0) == session && tcgetsid(slave) == session, "the session changed");
    CHECK(tcgetpgrp(slave) == pid, "the foreground group changed");
    MUST(tcsetpgrp(slave, getpgrp()));
    int tty = MUST(open("/dev/tty", O_RDWR));
    write_all(tty, "to the terminal", 15);
    write_all(up[1], "y", 1);
    while (!resized) pause();
    return 0;
}

int main(void) {
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    struct termios raw;
    MUST(tcgetattr(slave, &raw));
    raw.c_lflag &= ~(tcflag_t)ECHO;
    MUST(tcsetattr(slave, TCSANOW, &raw));
    MUST(pipe(up));
    pid_t pid = child(leader, NULL);
    char byte, text[32];
    read_all(up[0], &byte, 1);
    ready();
    write_all(master, "\3", 1);
    read_all(up[0], &byte, 1);
    CHECK(byte == 'y', "the session said otherwise");
    read_all(master, text, 15);
    CHECK(memcmp(text, "to the terminal", 15) == 0, "/dev/tty is another");
    MUST(ioctl(master, TIOCSWINSZ, &(struct winsize){30, 90, 0, 0}));
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the session's leader ended with %x", status);
    return passed();
}
