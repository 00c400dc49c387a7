/* A parent-death signal comes when the parent ends after a move, also to a process that is stopped. */
#include "check.h"

static int up[2];

static void on_signal(int number) {
    (void)number;
    write_all(up[1], "d", 1);
    _exit(0);
}

static int grandchild(void *unused) {
    (void)unused;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    MUST(prctl(PR_SET_PDEATHSIG, SIGTERM));
    write_all(up[1], "r", 1);
    while (pause() < 0) {
    }
    return 0;
}

static int stops(void *unused) {
    (void)unused;
    write_all(up[1], "r", 1);
    raise(SIGSTOP);
    return 0;
}

static int middle(void *unused) {
    (void)unused;
    child(grandchild, NULL);
    pid_t stopped = child(stops, NULL);
    int status;
    CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status), "the test itself");
    char text[16];
    snprintf(text, sizeof text, "%d", stopped);
    check_say("stopped", text);
    write_all(up[1], "m", 1);
    while (pause() < 0) {
    }
    return 0;
}

int main(void) {
    MUST(pipe(up));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t pid = child(middle, NULL);
    char byte;
    for (int i = 0; i < 3; i++) read_all(up[0], &byte, 1);
    char text[16] = {0};
    int fd = MUST(open(in_folder("stopped"), O_RDONLY));
    MUST(read(fd, text, sizeof text - 1));
    close(fd);
    ready();
    MUST(kill(pid, SIGKILL));
    MUST(waitpid(pid, NULL, 0));
    read_all(up[0], &byte, 1);
    CHECK(byte == 'd', "%c instead of the signal", byte);
    int status, seen = 0;
    for (int i = 0; i < 2; i++) {
        pid_t ended = MUST(waitpid(-1, &status, 0));
        if (ended == atoi(text)) seen = WTERMSIG(status);
    }
    CHECK(seen == SIGKILL, "the stopped one ended by %d", seen);
    return passed();
}
