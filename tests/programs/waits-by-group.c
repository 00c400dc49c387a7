/* Parents that wait in the kernel for a child of some kind: of a group, of any, by a descriptor, for its stop and for
 * its going on. */
#include "proc.h"
#include <sys/syscall.h>

static int go[2], group[2];
static pid_t wards[4];

static int ward(void *number) {
    (void)number;
    char byte;
    read_all(go[0], &byte, 1);
    return 40;
}

/* Each in a process of its own, with a child of its own. */
static int by_group(void *unused) {
    (void)unused;
    pid_t pid = child(ward, NULL);
    setpgid(pid, pid);
    int status;
    return waitpid(-pid, &status, 0) == pid && WEXITSTATUS(status) == 40 ? 1 : 99;
}
static int by_any(void *unused) {
    (void)unused;
    pid_t pid = child(ward, NULL);
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == 40 ? 2 : 99;
}
static int by_descriptor(void *unused) {
    (void)unused;
    pid_t pid = child(ward, NULL);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    siginfo_t info;
    return waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0 && info.si_pid == pid && info.si_status == 40 ? 3 : 99;
}
static int by_stop(void *unused) {
    (void)unused;
    pid_t pid = child(ward, NULL);
    write_all(group[1], &pid, sizeof pid);
    int status;
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) return 97;
    if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status)) return 98;
    write_all(group[1], &pid, sizeof pid);
    return waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 40 ? 4 : 99;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(group));
    int (*const bodies[4])(void *) = {by_group, by_any, by_descriptor, by_stop};
    for (int i = 0; i < 4; i++) {
        wards[i] = child(bodies[i], NULL);
        until_asleep(wards[i], wards[i]);
    }
    pid_t stops;
    read_all(group[0], &stops, sizeof stops);
    until_asleep(stops, stops);
    ready();
    MUST(kill(stops, SIGSTOP));
    /* Its parent must see the stop before it goes on. */
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", stops);
    do read_text(path, text, sizeof text);
    while (strrchr(text, ')')[2] != 'T');
    until_asleep(wards[3], wards[3]);
    MUST(kill(stops, SIGCONT));
    /* And that it goes on before it ends. */
    read_all(group[0], &stops, sizeof stops);
    write_all(go[1], "xxxx", 4);
    for (int i = 0; i < 4; i++) {
        int status;
        CHECK(waitpid(wards[i], &status, 0) == wards[i] && WIFEXITED(status) && WEXITSTATUS(status) == i + 1, "wait %d ended with %x", i, status);
    }
    return passed();
}
