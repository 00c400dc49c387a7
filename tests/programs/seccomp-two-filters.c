/* Two filters, of which each sees every call: the later is asked first, and the stricter answer counts. The first
 * does not say what it does with the second's call, and the other way round. */
#include "filter.h"

static void look(const char *when) {
    CHECK(is_forbidden(SYS_getppid, 98), "%s: not the later one's answer", when);
    CHECK(is_forbidden(SYS_getsid, 97), "%s: the first is gone", when);
    CHECK(is_forbidden(SYS_getpgrp, 96), "%s: the second is gone", when);
    CHECK(syscall(SYS_getpgid, 0) >= 0, "%s: other calls fail", when);
}

int main(void) {
    struct sock_filter first[] = {
        LOAD_NUMBER,
        ON(SYS_getppid, SECCOMP_RET_ERRNO | 99),
        ON(SYS_getsid, SECCOMP_RET_ERRNO | 97),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_filter second[] = {
        LOAD_NUMBER,
        ON(SYS_getppid, SECCOMP_RET_ERRNO | 98),
        ON(SYS_getsid, SECCOMP_RET_LOG),
        ON(SYS_getpgrp, SECCOMP_RET_ERRNO | 96),
        RETURN(SECCOMP_RET_ALLOW),
    };
    long before = status_number("Seccomp_filters");
    MUST(install(first, COUNT(first), SECCOMP_FILTER_FLAG_LOG));
    MUST(install(second, COUNT(second), 0));
    look("before");
    ready();
    look("after");
    CHECK(status_number("Seccomp_filters") == before + 2, "it has %ld filters", status_number("Seccomp_filters"));
    return passed();
}
