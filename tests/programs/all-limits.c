/* Every resource limit, soft and hard, and that a limit still limits. */
#include "check.h"
#include <sys/resource.h>

static const struct { int which; rlim_t soft, hard; } wanted[] = {
    {RLIMIT_CPU, 100000, 200000}, {RLIMIT_FSIZE, 1 << 30, 1l << 31}, {RLIMIT_DATA, 1l << 36, 1l << 37},
    {RLIMIT_STACK, 4 << 20, 64 << 20}, {RLIMIT_CORE, 0, 4096}, {RLIMIT_RSS, 1l << 40, 1l << 41},
    {RLIMIT_NPROC, 300, 400}, {RLIMIT_NOFILE, 200, 300}, {RLIMIT_MEMLOCK, 65536, 65536}, {RLIMIT_AS, 1l << 42, 1l << 43},
    {RLIMIT_LOCKS, 10, 20}, {RLIMIT_SIGPENDING, 100, 200}, {RLIMIT_MSGQUEUE, 4096, 8192},
    {RLIMIT_RTTIME, 1000000, 2000000}, {RLIMIT_NICE, 5, 10}, {RLIMIT_RTPRIO, 5, 10},
};
enum { COUNT = sizeof wanted / sizeof *wanted };

int main(void) {
    struct rlimit set[COUNT], now;
    for (int i = 0; i < COUNT; i++) {
        MUST(getrlimit(wanted[i].which, &set[i]));
        if (wanted[i].hard < set[i].rlim_max) set[i].rlim_max = wanted[i].hard;
        set[i].rlim_cur = wanted[i].soft < set[i].rlim_max ? wanted[i].soft : set[i].rlim_max;
        MUST(setrlimit(wanted[i].which, &set[i]));
    }
    ready();
    for (int i = 0; i < COUNT; i++) {
        MUST(getrlimit(wanted[i].which, &now));
        CHECK(now.rlim_cur == set[i].rlim_cur && now.rlim_max == set[i].rlim_max, "limit %d is %lu of %lu, was %lu of %lu",
              wanted[i].which, now.rlim_cur, now.rlim_max, set[i].rlim_cur, set[i].rlim_max);
    }
    CHECK(fcntl(0, F_DUPFD, (int)set[7].rlim_cur) < 0 && errno == EINVAL, "more files than allowed");
    signal(SIGXFSZ, SIG_IGN);
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    CHECK(pwrite(fd, "x", 1, (off_t)set[1].rlim_cur) < 0 && errno == EFBIG, "a larger file than allowed");
    return passed();
}
