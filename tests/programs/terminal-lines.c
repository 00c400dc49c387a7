/* What was typed and not read, with its borders: lines, an end of file behind text and one alone, a line ended by
 * a character of one's own, half a line that is finished afterwards; the same for a raw terminal, with more
 * than one page, and zeros and control characters in it. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <termios.h>

static int raw_master, raw_slave, master, slave;
enum { LONG = 3500 };

static void await(int fd) {
    struct pollfd one = {fd, POLLIN, 0};
    CHECK(poll(&one, 1, 20000) == 1, "nothing arrives");
}

static void line(const char *wanted, size_t length) {
    char text[256];
    ssize_t got = MUST(read(slave, text, sizeof text));
    CHECK((size_t)got == length && memcmp(text, wanted, length) == 0, "%.*s instead of %.*s", (int)got, text, (int)length, wanted);
}

int main(void) {
    struct termios t;
    MUST(openpty(&master, &slave, NULL, NULL, NULL));
    MUST(tcgetattr(slave, &t));
    t.c_lflag &= ~(tcflag_t)ECHO;
    t.c_cc[VEOL] = ';';
    MUST(tcsetattr(slave, TCSANOW, &t));
    MUST(openpty(&raw_master, &raw_slave, NULL, NULL, NULL));
    cfmakeraw(&t);
    MUST(tcsetattr(raw_slave, TCSANOW, &t));
    static char sent[LONG], got[LONG];
    for (int i = 0; i < LONG; i++) sent[i] = (char)(i * 7);
    write_all(raw_master, sent, LONG);
    write_all(master, "one\ntext\4\4two;\26\4\26\3quoted\nhalf", 29);
    await(slave);
    await(raw_slave);
    ready();
    line("one\n", 4);
    line("text", 4);
    line("", 0);
    line("two;", 4);
    line("\4\3quoted\n", 9);
    struct pollfd now = {slave, POLLIN, 0};
    CHECK(poll(&now, 1, 0) == 0, "half a line can be read");
    write_all(master, " a lime\10\177ne\n", 12);
    char text[64];
    ssize_t length = read(slave, text, sizeof text);
    CHECK(length > 11 && memcmp(text, "half a li", 9) == 0, "the half line became %.*s", (int)length, text);
    read_all(raw_slave, got, LONG);
    CHECK(memcmp(got, sent, LONG) == 0, "raw input changed");
    now.fd = raw_slave;
    CHECK(poll(&now, 1, 0) == 0, "there is more raw input than was typed");
    return passed();
}
