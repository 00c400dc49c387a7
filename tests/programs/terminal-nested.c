/* A terminal in a terminal, as screen and ssh have them: a middle process passes bytes and the window size on; the
 * inner session has its own controlling terminal. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int outer;
static int inner = -1;
static void on_resize(int number) {
    (void)number;
    struct winsize size;
    ioctl(0, TIOCGWINSZ, &size);
    ioctl(inner, TIOCSWINSZ, &size);
}

static volatile sig_atomic_t resized;
static void on_inner_resize(int number) {
    (void)number;
    resized = 1;
}

static void innermost(void) {
    struct sigaction action = {.sa_handler = on_inner_resize};
    sigaction(SIGWINCH, &action, NULL);
    char line[64], said[128];
    write_all(1, "inner\n", 6);
    for (;;) {
        ssize_t got = read(0, line, sizeof line - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) _exit(3);
        line[got] = 0;
        struct winsize size;
        MUST(ioctl(0, TIOCGWINSZ, &size));
        int length = snprintf(said, sizeof said, "<%.*s %d %d %d>\n", (int)got - 1, line, size.ws_row, resized, tcgetsid(0) == getpid());
        write_all(1, said, (size_t)length);
    }
}

static void middle(void) {
    struct termios t;
    MUST(tcgetattr(0, &t));
    cfmakeraw(&t);
    MUST(tcsetattr(0, TCSANOW, &t));
    pid_t pid = forkpty(&inner, NULL, NULL, &(struct winsize){24, 80, 0, 0});
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        innermost();
    }
    struct sigaction action = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    sigaction(SIGWINCH, &action, NULL);
    for (;;) {
        struct pollfd both[] = {{0, POLLIN, 0}, {inner, POLLIN, 0}};
        if (poll(both, 2, -1) < 0) continue;
        char text[256];
        for (int i = 0; i < 2; i++) {
            if (!(both[i].revents & (POLLIN | POLLHUP))) continue;
            ssize_t got = read(both[i].fd, text, sizeof text);
            if (got <= 0) _exit(0);
            write_all(i ? 1 : inner, text, (size_t)got);
        }
    }
}

static char seen[8192];
static size_t length;

/* Reads what is shown until this is among it, and forgets all up to its end. */
static void expect(const char *text) {
    int64_t end = now_ms() + 20000;
    char *at;
    while (seen[length] = 0, !(at = strstr(seen, text))) {
        struct pollfd one = {outer, POLLIN, 0};
        CHECK(now_ms() < end, "%s is not shown, but %s", text, seen);
        if (poll(&one, 1, 200) == 1) length += (size_t)MUST(read(outer, seen + length, 1024));
    }
    at += strlen(text);
    length -= (size_t)(at - seen);
    memmove(seen, at, length);
}

int main(void) {
    pid_t pid = forkpty(&outer, NULL, NULL, &(struct winsize){24, 80, 0, 0});
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        middle();
    }
    expect("inner");
    write_all(outer, "before\n", 7);
    expect("<before 24 0 1>");
    write_all(outer, "hal", 3);
    expect("hal");
    ready();
    write_all(outer, "f\n", 2);
    expect("<half 24 0 1>");
    MUST(ioctl(outer, TIOCSWINSZ, &(struct winsize){50, 80, 0, 0}));
    /* The size arrives on a way of its own, so it is asked for until it has. */
    int rows = 24, told = 0;
    for (int64_t end = now_ms() + 20000; rows != 50 || !told;) {
        CHECK(now_ms() < end, "the size does not arrive: %d rows, told %d", rows, told);
        write_all(outer, "size\n", 5);
        expect("<size ");
        while (!strchr(seen, '>')) {
            length += (size_t)MUST(read(outer, seen + length, 64));
            seen[length] = 0;
        }
        CHECK(sscanf(seen, "%d %d", &rows, &told) == 2, "it says %s", seen);
    }
    end_child(pid);
    return passed();
}
