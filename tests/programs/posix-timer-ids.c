/* Ids of POSIX timers with wide gaps, in two processes: each is kept, and new ones get others. */
#include "check.h"

enum { KEPT = 12 };
static int go[2];

static int kernel_id(timer_t timer) { return (int)(intptr_t)timer; }

static void make(timer_t kept[KEPT], int step) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    for (int i = 0; i < KEPT; i++) {
        for (int j = 0; j < step; j++) {
            timer_t passed_by;
            MUST(timer_create(CLOCK_MONOTONIC, &event, &passed_by));
            MUST(timer_delete(passed_by));
        }
        MUST(timer_create(CLOCK_MONOTONIC, &event, &kept[i]));
        MUST(timer_settime(kept[i], 0, &(struct itimerspec){{i + 1, 0}, {9000, 0}}, NULL));
    }
}

static void look(timer_t kept[KEPT]) {
    struct itimerspec left;
    for (int i = 0; i < KEPT; i++) {
        MUST(timer_gettime(kept[i], &left));
        CHECK(left.it_interval.tv_sec == i + 1, "timer %d is another's", kernel_id(kept[i]));
    }
    timer_t fresh;
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    MUST(timer_create(CLOCK_MONOTONIC, &event, &fresh));
    for (int i = 0; i < KEPT; i++) CHECK(fresh != kept[i], "an id is given twice");
    for (int i = 0; i < KEPT; i++) MUST(timer_delete(kept[i]));
}

static int other(void *unused) {
    (void)unused;
    timer_t kept[KEPT];
    make(kept, 3);
    char byte = 0;
    write_all(go[1], &byte, 1);
    read_all(go[1], &byte, 1);
    look(kept);
    return 0;
}

int main(void) {
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, go));
    pid_t pid = child(other, NULL);
    timer_t kept[KEPT];
    make(kept, 40);
    char byte;
    read_all(go[0], &byte, 1);
    ready();
    look(kept);
    write_all(go[0], &byte, 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "the child ended with %x", status);
    return passed();
}
