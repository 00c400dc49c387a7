/* Children that end all the time, around every freeze: each end is told and each status is right. */
#include "check.h"

static volatile sig_atomic_t ended, wrong;

static void on_child(int number) {
    (void)number;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != (pid & 0x7f)) wrong++;
        ended++;
    }
}

static int body(void *unused) {
    (void)unused;
    return getpid() & 0x7f;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    int started = 0;
    sigset_t set, chld;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    bool said = false;
    for (int after = 0; after < 50;) {
        child(body, NULL);
        started++;
        /* At most eight at once; the signal must come, or this waits for ever. */
        sigprocmask(SIG_BLOCK, &chld, NULL);
        sigset_t open;
        sigfillset(&open);
        sigdelset(&open, SIGCHLD);
        while (started - ended > 8) sigsuspend(&open);
        sigprocmask(SIG_UNBLOCK, &chld, NULL);
        if (!said && started == 50) {
            char text[16];
            snprintf(text, sizeof text, "%d\n", getpid());
            puts("ready");
            fflush(stdout);
            check_say("ready", text);
            said = true;
        }
        siginfo_t info;
        if (after > 0 || (said && sigtimedwait(&set, &info, &(struct timespec){0}) == SIGUSR2)) after++;
    }
    sigprocmask(SIG_BLOCK, &chld, NULL);
    sigset_t open;
    sigfillset(&open);
    sigdelset(&open, SIGCHLD);
    while (ended < started) sigsuspend(&open);
    CHECK(wrong == 0, "%d of %d ended otherwise", wrong, started);
    CHECK(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD, "there are more children than there were");
    return passed();
}
