/* F_NOTIFY (dnotify) can't be seen from outside: a session says that it has none; elsewhere it works. */
#include "check.h"

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int folder = MUST(open(in_folder("."), O_RDONLY | O_DIRECTORY));
    int done = fcntl(folder, F_NOTIFY, DN_CREATE | DN_MULTISHOT);
    CHECK(done == 0 || errno == EINVAL, "neither there nor missing");
    ready();
    if (done == 0) {
        close(MUST(open(in_folder("new"), O_WRONLY | O_CREAT, 0600)));
        struct timespec limit = {20, 0};
        CHECK(sigtimedwait(&set, NULL, &limit) == SIGIO, "a promise is not kept");
    } else {
        CHECK(fcntl(folder, F_NOTIFY, DN_CREATE) < 0, "it is there all of a sudden");
    }
    return passed();
}
