/* A filter of its own, as most sandboxes have: calls that fail, calls that trap, and everything else as before. And
 * the calls that install nothing fail as they do without Roam. */
#include "filter.h"

static volatile sig_atomic_t trapped;

static void on_trap(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    trapped = info->si_syscall == SYS_getsid ? info->si_errno : -1;
}

static void look(const char *when) {
    CHECK(is_forbidden(SYS_getppid, 99), "%s: the filter is gone", when);
    trapped = 0;
    syscall(SYS_getsid, 0);
    CHECK(trapped == 77, "%s: no trap (%d)", when, (int)trapped);
    CHECK(getpgid(0) >= 0 && getpid() > 0, "%s: other calls fail", when);
    CHECK(status_number("Seccomp") == 2 && status_number("NoNewPrivs") == 1, "%s: it has no filter", when);
}

int main(void) {
    long before = status_number("Seccomp_filters");
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    MUST(sigaction(SIGSYS, &action, NULL));
    struct sock_filter code[] = {
        LOAD_NUMBER,
        ON(SYS_getppid, SECCOMP_RET_ERRNO | 99),
        ON(SYS_getsid, SECCOMP_RET_TRAP | 77),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog none = {0, code}, nowhere = {3, (void *)16}, program = {COUNT(code), code};
    struct sock_filter wild[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4096), RETURN(SECCOMP_RET_ALLOW)};
    struct sock_fprog invalid = {2, wild};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &none) < 0 && errno == EINVAL, "nothing is a filter");
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &nowhere) < 0 && errno == EFAULT, "a filter of nowhere");
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &invalid) < 0 && errno == EINVAL, "an invalid filter");
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) < 0 && errno == EFAULT, "no filter");
    CHECK(install(code, COUNT(code), 1u << 20) < 0 && errno == EINVAL, "an unknown flag");
    CHECK(status_number("Seccomp_filters") == before, "what failed left a filter");
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
    CHECK(status_number("Seccomp_filters") == before + 1, "it has %ld filters", status_number("Seccomp_filters"));
    look("before");
    ready();
    CHECK(status_number("Seccomp_filters") == before + 1, "it has %ld filters", status_number("Seccomp_filters"));
    look("after");
    forbid(SYS_getpgid, 98);
    CHECK(is_forbidden(SYS_getpgid, 98) && is_forbidden(SYS_getppid, 99), "a second filter");
    return passed();
}
