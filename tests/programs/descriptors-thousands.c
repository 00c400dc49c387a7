/* Thousands of open files: a third of all that a process may have here, at most six thousand. */
#include "check.h"
#include <sys/eventfd.h>
#include <sys/resource.h>

int main(void) {
    static int files[6000];
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    int count = limit.rlim_max / 3 < 6000 ? (int)(limit.rlim_max / 3) : 6000;
    for (int i = 0; i < count; i++) files[i] = MUST(eventfd((unsigned)i + 1, 0));
    ready();
    for (int i = 0; i < count; i++) {
        uint64_t value;
        read_all(files[i], &value, 8);
        CHECK(value == (uint64_t)i + 1, "counter %d is %llu", i, (unsigned long long)value);
    }
    return passed();
}
