/* io_uring and its kin, which could not be carried: in a session they are not there, from the first to the
 * last, and programs do without. */
#include "check.h"

static bool filtered(void) {
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    int mode = -1;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Seccomp: %d", &mode) == 1) break;
    if (file) fclose(file);
    return mode == 2;
}

static void look(const char *when) {
    static const long calls[] = {425, 426, 427, SYS_bpf, SYS_perf_event_open, SYS_keyctl, SYS_userfaultfd};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        CHECK(syscall(calls[i], 0, 0, 0, 0, 0, 0) < 0 && errno == ENOSYS, "%s: call %ld is there", when, calls[i]);
}

int main(void) {
    bool in_session = filtered();
    if (in_session) look("before");
    ready();
    CHECK(filtered() == in_session, "the filter came or went");
    if (in_session) {
        look("after");
        pid_t pid = fork();
        if (pid == 0) {
            look("in a child");
            _exit(0);
        }
        int status;
        MUST(waitpid(pid, &status, 0));
        CHECK(status == 0, "the child ended with %x", status);
    }
    return passed();
}
