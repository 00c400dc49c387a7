/* Urgent data of TCP: not read, read already, in front, behind other data, alone, in line, and asked for by a signal. */
#include "inet.h"
#include <sys/ioctl.h>

enum { BEHIND, FRONT, ALONE, LAST, READ, READ_FRONT, IN_LINE, ENDED, COUNT };

static volatile sig_atomic_t signals;

static void note(int signal) {
    (void)signal;
    signals++;
}

static bool at_mark(int fd) {
    int at = -1;
    MUST(ioctl(fd, SIOCATMARK, &at));
    return at == 1;
}

static bool has_before(int which) { return which != FRONT && which != ALONE && which != READ_FRONT; }
static bool has_after(int which) { return which != ALONE && which != LAST; }

static void urgent(int fd) {
    char byte = 0;
    CHECK(recv(fd, &byte, 1, MSG_OOB) == 1 && byte == '!', "no urgent byte: %x", byte);
}

int main(void) {
    int pairs[COUNT][2], told[2];
    char text[16];
    signal(SIGURG, note);
    for (int i = 0; i < COUNT; i++) {
        connection(i % 2 ? AF_INET6 : AF_INET, pairs[i]);
        if (i == IN_LINE) set_option(pairs[i][1], SOL_SOCKET, SO_OOBINLINE, 1);
        if (has_before(i)) write_all(pairs[i][0], "before", 6);
        MUST(send(pairs[i][0], "!", 1, MSG_OOB));
        if (has_after(i)) write_all(pairs[i][0], "after", 5);
        CHECK(await(pairs[i][1], POLLPRI) & POLLPRI, "the test itself");
        if (i == READ || i == READ_FRONT) urgent(pairs[i][1]);
        if (i == ENDED) close(pairs[i][0]);
    }
    connection(AF_INET, told);
    MUST(fcntl(told[1], F_SETOWN, getpid()));
    ready();
    CHECK(signals == 0, "a signal that tells of nothing new");
    for (int i = 0; i < COUNT; i++) {
        int fd = pairs[i][1];
        bool fresh = i != READ && i != READ_FRONT;
        struct pollfd poller = {fd, POLLPRI, 0};
        CHECK(poll(&poller, 1, 0) == fresh, "case %d: urgent data is %d", i, !fresh);
        CHECK(at_mark(fd) == !has_before(i), "case %d: the mark is not where it was", i);
        if (has_before(i)) {
            /* Reading stops at the mark. */
            CHECK(read(fd, text, sizeof text) == 6 && memcmp(text, "before", 6) == 0, "case %d: before it", i);
            CHECK(at_mark(fd), "case %d: no mark", i);
        }
        if (i == IN_LINE) {
            CHECK(recv(fd, text, 1, MSG_OOB) < 0 && errno == EINVAL, "it is not in line");
            read_all(fd, text, 1);
            CHECK(*text == '!', "in line is %c", *text);
        } else if (fresh) {
            urgent(fd);
        }
        if (!fresh) CHECK(recv(fd, text, 1, MSG_OOB) < 0 && errno == EINVAL, "case %d: it is read twice", i);
        if (has_after(i)) {
            CHECK(read(fd, text, sizeof text) == 5 && memcmp(text, "after", 5) == 0, "case %d: behind it", i);
        }
        CHECK(!at_mark(fd) || !has_after(i), "case %d: the mark stays", i);
        if (i == ENDED) {
            CHECK(read(fd, text, 1) == 0, "case %d goes on", i);
            continue;
        }
        write_all(pairs[i][0], "on", 2);
        read_all(fd, text, 2);
        CHECK(memcmp(text, "on", 2) == 0, "case %d goes on with %.2s", i, text);
        MUST(send(pairs[i][0], "!", 1, MSG_OOB));
        await(fd, POLLPRI);
    }
    MUST(send(told[0], "!", 1, MSG_OOB));
    await(told[1], POLLPRI);
    CHECK(signals == 1, "%d signals for one urgent byte", signals);
    return passed();
}
