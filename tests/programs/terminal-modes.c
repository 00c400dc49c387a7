/* Terminals in several modes at once: raw with a time-out, no echo, special characters of their own, eight bits,
 * exclusive, locked; numbers with gaps; each opened by name and held by several processes. */
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { MANY = 5 };
static int masters[MANY], slaves[MANY], go[2];

static int other(void *unused) {
    (void)unused;
    char byte = 0;
    read_all(go[1], &byte, 1);
    for (int i = 0; i < MANY; i++) {
        char text[4] = {'s', (char)('0' + i), 0, 0};
        write_all(slaves[i], text, 2);
    }
    return 0;
}

static void settings(int i, struct termios *t) {
    MUST(tcgetattr(slaves[i], t));
    if (i == 0) cfmakeraw(t), t->c_cc[VMIN] = 0, t->c_cc[VTIME] = 5;
    if (i == 1) t->c_lflag &= ~(tcflag_t)(ECHO | ECHOE), t->c_cc[VINTR] = 7, t->c_cc[VEOF] = 1, t->c_cc[VERASE] = 8;
    if (i == 2) t->c_iflag |= IUTF8 | IXANY, t->c_oflag &= ~(tcflag_t)OPOST, cfsetspeed(t, B9600);
    if (i == 3) t->c_lflag |= NOFLSH | TOSTOP, t->c_cc[VEOL] = ';', t->c_iflag |= INLCR;
    if (i == 4) t->c_cflag &= ~(tcflag_t)CSIZE, t->c_cflag |= CS7 | PARENB, t->c_lflag &= ~(tcflag_t)ISIG;
}

int main(void) {
    static struct termios wanted[MANY], now;
    char names[MANY][64], name[64];
    int passed_by[MANY], unused;
    for (int i = 0; i < MANY; i++) {
        MUST(openpty(&passed_by[i], &unused, NULL, NULL, NULL));
        close(unused);
        MUST(openpty(&masters[i], &slaves[i], names[i], NULL, &(struct winsize){(unsigned short)(20 + i), 80, 640, 480}));
        settings(i, &wanted[i]);
        MUST(tcsetattr(slaves[i], TCSANOW, &wanted[i]));
        MUST(tcgetattr(slaves[i], &wanted[i]));
    }
    for (int i = 0; i < MANY; i++) close(passed_by[i]);
    int locked = MUST(posix_openpt(O_RDWR | O_NOCTTY)), number;
    MUST(ioctl(locked, TIOCGPTN, &number));
    MUST(ioctl(slaves[2], TIOCEXCL));
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(other, NULL);
    ready();
    for (int i = 0; i < MANY; i++) {
        CHECK(ttyname_r(slaves[i], name, sizeof name) == 0 && strcmp(name, names[i]) == 0, "%s is %s now", names[i], name);
        MUST(tcgetattr(slaves[i], &now));
        CHECK(now.c_iflag == wanted[i].c_iflag && now.c_oflag == wanted[i].c_oflag && now.c_cflag == wanted[i].c_cflag &&
                  now.c_lflag == wanted[i].c_lflag && memcmp(now.c_cc, wanted[i].c_cc, sizeof now.c_cc) == 0,
              "terminal %d has other settings", i);
        CHECK(cfgetospeed(&now) == cfgetospeed(&wanted[i]), "terminal %d has another speed", i);
        struct winsize size;
        MUST(ioctl(masters[i], TIOCGWINSZ, &size));
        CHECK(size.ws_row == 20 + i && size.ws_xpixel == 640 && size.ws_ypixel == 480, "terminal %d has %d rows", i, size.ws_row);
        if (i != 2) {
            int again = open(names[i], O_RDWR | O_NOCTTY);
            CHECK(again >= 0, "%s can't be opened", names[i]);
            close(again);
        }
    }
    CHECK(open(names[2], O_RDWR | O_NOCTTY) < 0 && errno == EBUSY, "the exclusive one can be opened: %d", errno);
    MUST(ioctl(slaves[2], TIOCNXCL));
    int fd = MUST(open(names[2], O_RDWR | O_NOCTTY));
    close(fd);
    snprintf(name, sizeof name, "/dev/pts/%d", number);
    CHECK(open(name, O_RDWR | O_NOCTTY) < 0 && errno == EIO, "the locked one can be opened: %d", errno);
    MUST(unlockpt(locked));
    fd = MUST(open(name, O_RDWR | O_NOCTTY));
    char text[8];
    CHECK(read(slaves[0], text, sizeof text) == 0, "the read without a minimum waits for one");
    write_all(masters[1], "gone\10\10\10\10kept\1", 13);
    CHECK(read(slaves[1], text, sizeof text) == 4 && memcmp(text, "kept", 4) == 0, "erase and end of file are other characters");
    write_all(go[0], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    for (int i = 0; i < MANY; i++) {
        read_all(masters[i], text, 2);
        CHECK(text[0] == 's' && text[1] == '0' + i, "master %d shows %.2s", i, text);
    }
    return passed();
}
