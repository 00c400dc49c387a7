/* A terminal pair: settings, size, bytes under way in both directions, a half-written line. */
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

int main(void) {
    int master, slave;
    struct winsize size = {37, 113, 0, 0}, now;
    MUST(openpty(&master, &slave, NULL, NULL, &size));
    char name[64], again[64];
    CHECK(ttyname_r(slave, name, sizeof name) == 0, "no name");
    struct termios settings, back;
    MUST(tcgetattr(slave, &settings));
    settings.c_lflag &= ~(tcflag_t)ECHO;
    settings.c_cc[VINTR] = 7;
    settings.c_iflag |= IXANY;
    MUST(tcsetattr(slave, TCSANOW, &settings));
    write_all(master, "whole line\nhalf", 15);
    write_all(slave, "printed", 7);
    ready();
    CHECK(ttyname_r(slave, again, sizeof again) == 0 && strcmp(name, again) == 0, "it is %s now", again);
    MUST(ioctl(slave, TIOCGWINSZ, &now));
    CHECK(now.ws_row == 37 && now.ws_col == 113, "the size is %dx%d", now.ws_col, now.ws_row);
    MUST(tcgetattr(slave, &back));
    CHECK(back.c_lflag == settings.c_lflag && back.c_iflag == settings.c_iflag && back.c_oflag == settings.c_oflag &&
              back.c_cflag == settings.c_cflag && memcmp(back.c_cc, settings.c_cc, sizeof back.c_cc) == 0,
          "the settings changed");
    char text[64];
    CHECK(read(master, text, sizeof text) == 7 && memcmp(text, "printed", 7) == 0, "what was printed is lost");
    CHECK(read(slave, text, sizeof text) == 11 && memcmp(text, "whole line\n", 11) == 0, "the line is lost");
    write_all(master, " done\n", 6);
    ssize_t length = read(slave, text, sizeof text);
    CHECK(length == 10 && memcmp(text, "half done\n", 10) == 0, "the half line is lost: %.*s", (int)length, text);
    return passed();
}
