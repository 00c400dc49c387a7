/* alarm(): what is left, one that fired while blocked and fires no second time, and one in a child. */
#include "check.h"
#include <sys/time.h>

static int go[2];
static volatile sig_atomic_t alarms;
static void on_alarm(int number) { (void)number; alarms++; }

static int other(void *unused) {
    (void)unused;
    alarm(3000);
    char byte;
    write_all(go[1], "x", 1);
    read_all(go[1], &byte, 1);
    unsigned left = alarm(0);
    return left > 2000 && left <= 3000 ? 0 : 1;
}

int main(void) {
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(other, NULL);
    char byte;
    read_all(go[0], &byte, 1);
    signal(SIGALRM, on_alarm);
    sigset_t set, now;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    MUST(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0, 1}}, NULL));
    do MUST(sigpending(&now));
    while (!sigismember(&now, SIGALRM));
    ready();
    struct itimerval left;
    MUST(getitimer(ITIMER_REAL, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_usec == 0, "an alarm that fired runs again");
    CHECK(alarms == 0, "a blocked alarm was handled");
    MUST(sigprocmask(SIG_UNBLOCK, &set, NULL));
    CHECK(alarms == 1, "the alarm came %d times", alarms);
    alarm(2);
    while (alarms == 1) pause();
    write_all(go[0], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child's alarm is another: %x", status);
    return passed();
}
