/* A signal descriptor with signals waiting, and with ones to come. */
#include "check.h"
#include <sys/signalfd.h>

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN + 1);
    MUST(sigprocmask(SIG_BLOCK, &set, NULL));
    int fd = MUST(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    MUST(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 11}));
    MUST(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 12}));
    ready();
    struct signalfd_siginfo info;
    for (int value = 11; value <= 12; value++) {
        read_all(fd, &info, sizeof info);
        CHECK(info.ssi_signo == (uint32_t)SIGRTMIN + 1 && info.ssi_int == value, "signal %u with %d", info.ssi_signo, info.ssi_int);
    }
    CHECK(read(fd, &info, sizeof info) < 0 && errno == EAGAIN, "a signal too many");
    MUST(kill(getpid(), SIGUSR1));
    read_all(fd, &info, sizeof info);
    CHECK(info.ssi_signo == SIGUSR1, "the mask is lost");
    return passed();
}
