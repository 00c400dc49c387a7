/* A notification asked for with mq_notify while messages wait: to look at them would notify, so it is refused to move just
 * now, and nobody is notified before his time. */
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
    MUST(mq_send(queue, "w", 1, 0));
    MUST(mq_notify(queue, &event));
    expect_refusal_of(queue, "while some wait to be read");
    ready();
    siginfo_t info;
    struct timespec limit = {20, 0}, none = {0, 0};
    CHECK(sigtimedwait(&set, &info, &none) < 0, "it is notified of nothing");
    char room[64];
    CHECK(mq_receive(queue, room, sizeof room, NULL) == 1 && room[0] == 'w', "the message is lost");
    MUST(mq_send(queue, "x", 1, 0));
    CHECK(sigtimedwait(&set, &info, &limit) == SIGRTMIN + 3, "nobody was notified");
    CHECK(info.si_code == SI_MESGQ && info.si_value.sival_ptr == &event && info.si_pid == getpid(), "code %d", info.si_code);
    return passed();
}
