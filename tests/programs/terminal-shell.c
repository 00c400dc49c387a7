/* An interactive shell with job control in a terminal: one job stopped, one in the background. Afterwards it
 * lists both, brings the stopped one back to the foreground, and Ctrl+C ends that. */
#include "check.h"
#include <poll.h>
#include <pty.h>

static int master;
static char seen[65536];
static size_t length;

/* Reads what is shown until this is among it, and forgets what was before. */
static void expect(const char *text) {
    int64_t end = now_ms() + 25000;
    for (;;) {
        seen[length] = 0;
        char *at = strstr(seen, text);
        if (at) {
            at += strlen(text);
            length -= (size_t)(at - seen);
            memmove(seen, at, length);
            return;
        }
        struct pollfd one = {master, POLLIN, 0};
        CHECK(now_ms() < end, "%s is not shown, but: %s", text, seen);
        if (poll(&one, 1, 200) == 1) {
            CHECK(length < sizeof seen - 4096, "it shows too much");
            length += (size_t)MUST(read(master, seen + length, 4096));
        }
    }
}

static bool runs_sleep(pid_t pid) {
    char path[64], name[8] = {0};
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    ssize_t got = read(fd, name, sizeof name - 1);
    close(fd);
    return got > 0 && strcmp(name, "sleep\n") == 0;
}

static void type(const char *text) { write_all(master, text, strlen(text)); }

int main(void) {
    pid_t pid = forkpty(&master, NULL, NULL, NULL);
    CHECK(pid >= 0, "no terminal");
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        /* Whoever runs this in the background of a script ignores it, and a shell's jobs then ignore it too. */
        signal(SIGINT, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("PS1", "ready> ", 1);
        setenv("TERM", "dumb", 1);
        execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i", NULL);
        _exit(127);
    }
    expect("ready> ");
    type("sleep 4000\n");
    /* Once it runs Ctrl+Z is for it; before, its shell's child ignores that. */
    while (!runs_sleep(tcgetpgrp(master))) sched_yield();
    type("\32");
    expect("Stopped");
    expect("ready> ");
    type("sleep 5000 &\n");
    expect("ready> ");
    ready();
    struct pollfd one = {master, POLLIN, 0};
    CHECK(poll(&one, 1, 300) == 0, "the shell has something to say");
    type("echo still-$((40 + 2)); jobs\n");
    expect("still-42");
    expect("Stopped");
    expect("sleep 4000");
    expect("Running");
    expect("sleep 5000");
    expect("ready> ");
    CHECK(tcgetpgrp(master) == pid, "the shell is not in the foreground");
    type("fg 1\n");
    while (tcgetpgrp(master) == pid) sched_yield();
    type("\3");
    expect("ready> ");
    type("kill %2; wait %2; echo ended-$?\n");
    expect("ended-143");
    type("exit 7\n");
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 7, "the shell ended with %x", status);
    return passed();
}
