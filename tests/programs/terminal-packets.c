/* Packet mode: news that the master has not read yet (a flush, output held, Ctrl+S no longer special), text
 * behind them, and news that come afterwards. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { MANY = 4 };
static int masters[MANY], slaves[MANY];

static int packet(int which, char *text, size_t size) {
    char room[64];
    ssize_t got = MUST(read(masters[which], room, sizeof room));
    CHECK(got >= 1 && (size_t)got - 1 < size, "a packet of %zd", got);
    memcpy(text, room + 1, (size_t)got - 1);
    text[got - 1] = 0;
    return (unsigned char)room[0];
}

int main(void) {
    struct termios t;
    for (int i = 0; i < MANY; i++) {
        MUST(openpty(&masters[i], &slaves[i], NULL, NULL, NULL));
        MUST(tcgetattr(slaves[i], &t));
        t.c_lflag &= ~(tcflag_t)ECHO;
        MUST(tcsetattr(slaves[i], TCSANOW, &t));
        MUST(ioctl(masters[i], TIOCPKT, &(int){1}));
    }
    MUST(tcflush(slaves[0], TCIOFLUSH));
    MUST(tcflow(slaves[1], TCOOFF));
    t.c_iflag &= ~(tcflag_t)IXON;
    MUST(tcsetattr(slaves[2], TCSANOW, &t));
    write_all(slaves[2], "text", 4);
    write_all(slaves[3], "plain", 5);
    ready();
    int on = 0;
    MUST(ioctl(masters[0], TIOCGPKT, &on));
    CHECK(on, "packet mode is off");
    for (int i = 0; i < 3; i++) {
        struct pollfd one = {masters[i], POLLPRI, 0};
        CHECK(poll(&one, 1, 0) == 1 && one.revents & POLLPRI, "terminal %d: the news are lost", i);
    }
    char text[64];
    int news = packet(0, text, sizeof text);
    CHECK(news == (TIOCPKT_FLUSHREAD | TIOCPKT_FLUSHWRITE), "the flush became %x", news);
    news = packet(1, text, sizeof text);
    CHECK(news == TIOCPKT_STOP, "the stop became %x", news);
    news = packet(2, text, sizeof text);
    CHECK(news == TIOCPKT_NOSTOP, "the change of Ctrl+S became %x", news);
    CHECK(packet(2, text, sizeof text) == TIOCPKT_DATA && strcmp(text, "text") == 0, "the text became %s", text);
    CHECK(packet(3, text, sizeof text) == TIOCPKT_DATA && strcmp(text, "plain") == 0, "news from nowhere");
    MUST(tcflow(slaves[1], TCOON));
    CHECK(packet(1, text, sizeof text) == TIOCPKT_START, "no news of the start");
    t.c_iflag |= IXON;
    MUST(tcsetattr(slaves[2], TCSANOW, &t));
    CHECK(packet(2, text, sizeof text) == TIOCPKT_DOSTOP, "no news of Ctrl+S");
    for (int i = 0; i < MANY; i++) {
        struct pollfd one = {masters[i], POLLIN | POLLPRI, 0};
        CHECK(poll(&one, 1, 0) == 0, "terminal %d has more to tell", i);
    }
    return passed();
}
