/* Settings of a process: parent-death signal, subreaper, timer slack, nice, affinity. */
#include "check.h"
#include <sched.h>
#include <sys/resource.h>

static int go[2];

static int other(void *unused) {
    (void)unused;
    MUST(prctl(PR_SET_PDEATHSIG, SIGTERM));
    char byte;
    read_all(go[0], &byte, 1);
    int number = 0;
    MUST(prctl(PR_GET_PDEATHSIG, &number));
    return number;
}

int main(void) {
    MUST(pipe(go));
    MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
    MUST(prctl(PR_SET_TIMERSLACK, 123456));
    MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    MUST(setpriority(PRIO_PROCESS, 0, 7));
    MUST(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}));
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    MUST(sched_setaffinity(0, sizeof set, &set));
    int fd = MUST(open("/proc/self/oom_score_adj", O_WRONLY));
    write_all(fd, "300", 3);
    close(fd);
    pid_t pid = child(other, NULL);
    ready();
    int on = 0;
    MUST(prctl(PR_GET_CHILD_SUBREAPER, &on));
    CHECK(on == 1, "no subreaper any more");
    CHECK(prctl(PR_GET_TIMERSLACK) == 123456, "the timer slack is %d", prctl(PR_GET_TIMERSLACK));
    CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "huge pages are on again");
    CHECK(prctl(PR_GET_DUMPABLE) == 1, "dumpable is %d", prctl(PR_GET_DUMPABLE));
    errno = 0;
    CHECK(getpriority(PRIO_PROCESS, 0) == 7, "nice is %d", getpriority(PRIO_PROCESS, 0));
    CHECK(sched_getscheduler(0) == SCHED_BATCH, "the scheduler is %d", sched_getscheduler(0));
    CPU_ZERO(&set);
    MUST(sched_getaffinity(0, sizeof set, &set));
    CHECK(CPU_COUNT(&set) == 1 && CPU_ISSET(0, &set), "the affinity changed");
    char text[8] = {0};
    fd = MUST(open("/proc/self/oom_score_adj", O_RDONLY));
    MUST(read(fd, text, 7));
    CHECK(atoi(text) == 300, "oom_score_adj is %s", text);
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == SIGTERM, "the child's parent-death signal is %d", WEXITSTATUS(status));
    return passed();
}
