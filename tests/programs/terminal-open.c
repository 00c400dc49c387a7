/* A terminal opened in every way: as /dev/tty, by its name, in packet mode; and one that nobody shows any more. */
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int up[2], go[2];
static char path[64];

static int leader(void *unused) {
    (void)unused;
    MUST(setsid());
    int named = MUST(open(path, O_RDWR));
    int tty = MUST(open("/dev/tty", O_RDWR | O_NONBLOCK));
    struct stat before, now;
    MUST(fstat(tty, &before));
    write_all(up[1], "x", 1);
    char byte;
    read_all(go[0], &byte, 1);
    MUST(fstat(tty, &now));
    CHECK(before.st_rdev == now.st_rdev, "/dev/tty is device %lx now", (unsigned long)now.st_rdev);
    CHECK(fcntl(tty, F_GETFL) & O_NONBLOCK, "/dev/tty waits now");
    CHECK(tcgetsid(tty) == getsid(0) && tcgetsid(named) == getsid(0), "it is another's terminal");
    write_all(tty, "tty", 3);
    write_all(named, "named", 5);
    write_all(up[1], "x", 1);
    return 0;
}

int main(void) {
    int master, slave, gone, left;
    MUST(openpty(&gone, &left, NULL, NULL, NULL));
    MUST(openpty(&master, &slave, path, NULL, NULL));
    struct termios raw;
    MUST(tcgetattr(slave, &raw));
    cfmakeraw(&raw);
    MUST(tcsetattr(slave, TCSANOW, &raw));
    MUST(ioctl(master, TIOCPKT, &(int){1}));
    MUST(close(gone));
    MUST(pipe(up));
    MUST(pipe(go));
    child(leader, NULL);
    char byte, text[16];
    read_all(up[0], &byte, 1);
    write_all(slave, "early", 5);
    ready();
    CHECK(read(master, text, sizeof text) == 6 && memcmp(text, "\0early", 6) == 0, "packet mode or text is lost");
    write_all(go[1], "x", 1);
    read_all(up[0], &byte, 1);
    size_t length = 0;
    while (length < 8) {
        char packet[16];
        ssize_t some = MUST(read(master, packet, sizeof packet));
        CHECK(some > 1 && packet[0] == 0, "packet of %zd", some);
        memcpy(text + length, packet + 1, (size_t)some - 1);
        length += (size_t)some - 1;
    }
    CHECK(memcmp(text, "ttynamed", 8) == 0, "it shows %.8s", text);
    CHECK(read(left, text, 1) == 0, "a terminal that nobody shows can be read");
    return passed();
}
