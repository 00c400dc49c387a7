/* What is done on each signal: handlers, flags, masks, ignored ones. */
#include "check.h"

static volatile sig_atomic_t plain, informed;
static void on_plain(int number) { plain = number; }
static void on_info(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    informed = info->si_value.sival_int;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_plain, .sa_flags = SA_RESTART | SA_RESETHAND};
    sigaddset(&action.sa_mask, SIGALRM);
    sigaction(SIGUSR1, &action, NULL);
    struct sigaction second = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGRTMIN, &second, NULL);
    signal(SIGHUP, SIG_IGN);
    ready();
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    CHECK(now.sa_handler == on_plain, "the handler changed");
    CHECK(((unsigned)now.sa_flags & (SA_RESTART | SA_RESETHAND | SA_SIGINFO)) == (SA_RESTART | SA_RESETHAND), "flags: %x", now.sa_flags);
    CHECK(sigismember(&now.sa_mask, SIGALRM) && !sigismember(&now.sa_mask, SIGTERM), "the mask changed");
    MUST(kill(getpid(), SIGHUP));
    MUST(kill(getpid(), SIGUSR1));
    CHECK(plain == SIGUSR1, "the handler was not called");
    sigaction(SIGUSR1, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL, "SA_RESETHAND is lost");
    MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 5}));
    CHECK(informed == 5, "the value did not come");
    sigaction(SIGTERM, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL, "SIGTERM has a handler now");
    return passed();
}
