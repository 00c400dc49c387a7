/* A notification asked for with mq_notify: it is refused to carry that, and it works all the same. */
#include "check.h"
#include <mqueue.h>

int main(void) {
    struct mq_attr small = {.mq_maxmsg = 2, .mq_msgsize = 64};
    mqd_t queue = MUST(mq_open("/roam-notify", O_RDWR | O_CREAT, 0600, &small));
    MUST(mq_unlink("/roam-notify"));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 3);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
    event.sigev_value.sival_ptr = &event;
    MUST(mq_notify(queue, &event));
    expect_refusal("notification");
    ready();
    MUST(mq_send(queue, "x", 1, 0));
    siginfo_t info;
    CHECK(sigtimedwait(&set, &info, &(struct timespec){20, 0}) == SIGRTMIN + 3, "nobody was notified");
    CHECK(info.si_code == SI_MESGQ && info.si_value.sival_ptr == &event && info.si_pid == getpid(), "code %d", info.si_code);
    return passed();
}
