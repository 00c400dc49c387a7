/* Output that is held back: by a typed Ctrl+S and by a program, with a writer that waits and with text on its
 * way; each is let go only by who held it. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <termios.h>

static int masters[2], slaves[2];

static int writes(void *which) {
    write_all(slaves[(size_t)which], "waited", 6);
    return 0;
}

static bool can_write(int which) {
    struct pollfd one = {slaves[which], POLLOUT, 0};
    return poll(&one, 1, 0) == 1 && one.revents & POLLOUT;
}

int main(void) {
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
        MUST(openpty(&masters[i], &slaves[i], NULL, NULL, NULL));
        struct termios t;
        MUST(tcgetattr(slaves[i], &t));
        t.c_lflag &= ~(tcflag_t)ECHO;
        MUST(tcsetattr(slaves[i], TCSANOW, &t));
        write_all(slaves[i], "early ", 6);
    }
    write_all(masters[0], "\23", 1);
    MUST(tcflow(slaves[1], TCOOFF));
    for (int i = 0; i < 2; i++) {
        while (can_write(i)) sched_yield();
        pids[i] = child(writes, (void *)(size_t)i);
        while (call_of(pids[i], pids[i]) != SYS_write) sched_yield();
    }
    ready();
    char text[16];
    for (int i = 0; i < 2; i++) {
        CHECK(!can_write(i), "output %d is no longer held back", i);
        read_all(masters[i], text, 6);
        CHECK(memcmp(text, "early ", 6) == 0, "what was written before is lost");
        struct pollfd one = {masters[i], POLLIN, 0};
        CHECK(poll(&one, 1, 100) == 0, "the writer of %d did not wait", i);
    }
    /* Each by the wrong way, then by the right one. */
    MUST(tcflow(slaves[0], TCOON));
    write_all(masters[1], "\21", 1);
    struct pollfd both[] = {{masters[0], POLLIN, 0}, {masters[1], POLLIN, 0}};
    CHECK(poll(both, 2, 100) == 0, "the wrong one let it go: %x %x", both[0].revents, both[1].revents);
    write_all(masters[0], "\21", 1);
    MUST(tcflow(slaves[1], TCOON));
    for (int i = 0; i < 2; i++) {
        read_all(masters[i], text, 6);
        CHECK(memcmp(text, "waited", 6) == 0, "the writer wrote %.6s", text);
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "the writer ended with %x", status);
    }
    return passed();
}
