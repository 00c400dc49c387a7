/* Resource limits, soft and hard. */
#include "check.h"
#include <sys/resource.h>

int main(void) {
    struct rlimit now, files = {123, 456}, core = {0, 0}, stack;
    MUST(setrlimit(RLIMIT_NOFILE, &files));
    MUST(setrlimit(RLIMIT_CORE, &core));
    MUST(getrlimit(RLIMIT_STACK, &stack));
    stack.rlim_cur = 6 << 20;
    MUST(setrlimit(RLIMIT_STACK, &stack));
    ready();
    MUST(getrlimit(RLIMIT_NOFILE, &now));
    CHECK(now.rlim_cur == 123 && now.rlim_max == 456, "files: %lu, %lu", (unsigned long)now.rlim_cur, (unsigned long)now.rlim_max);
    MUST(getrlimit(RLIMIT_CORE, &now));
    CHECK(now.rlim_cur == 0 && now.rlim_max == 0, "core");
    MUST(getrlimit(RLIMIT_STACK, &now));
    CHECK(now.rlim_cur == 6 << 20 && now.rlim_max == stack.rlim_max, "stack");
    int last = -1, fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0) last = fd;
    CHECK(last == 122 && errno == EMFILE, "the limit does not hold: %d", last);
    close(last);
    return passed();
}
