/* Pid namespaces in one another, the inner one in a user namespace of its own: each process has a number in every
 * one, and the relations hold in all of them. */
#include "namespaces.h"

static struct steps *steps[3];

/* All numbers of a process, as seen where /proc is: from the session's on inwards. */
static void numbers_of(pid_t pid, char *text) {
    char path[64], all[8192];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    read_text(path, all, sizeof all);
    text[0] = 0;
    for (const char *field = "NSpid:\0NSsid:\0NSpgid:\0"; *field; field += strlen(field) + 1) {
        char *line = strstr(all, field);
        CHECK(line, "no %s", field);
        strncat(text, line, strcspn(line, "\n"));
    }
}

/* The only child of a process. */
static pid_t child_of(pid_t pid) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    read_text(path, text, sizeof text);
    return atoi(text);
}

static pthread_barrier_t barrier;

static void *thread(void *unused) {
    (void)unused;
    pid_t was = gettid();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    CHECK(gettid() == was, "a thread was %d and is %d", was, gettid());
    return NULL;
}

static int innermost(void *unused) {
    (void)unused;
    CHECK(getpid() == 2 && getppid() == 1, "it is %d below %d", getpid(), getppid());
    /* One namespace further down, and a thread in it. */
    new_user(0, 3, 3);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_t id;
    pthread_create(&id, NULL, thread, NULL);
    pthread_barrier_wait(&barrier);
    prepared(steps[2]);
    CHECK(getpid() == 2 && getppid() == 1 && getuid() == 3, "it is %d below %d, user %d", getpid(), getppid(), getuid());
    pthread_barrier_wait(&barrier);
    pthread_join(id, NULL);
    return 0;
}

static int inner(void *unused) {
    (void)unused;
    CHECK(getpid() == 1, "it is %d", getpid());
    MUST(setsid());
    pid_t pid = child(innermost, NULL);
    until_prepared(steps[2]);
    prepared(steps[1]);
    CHECK(getpid() == 1 && getsid(0) == 1, "it is %d in session %d", getpid(), getsid(0));
    go_on(steps[2]);
    ends_well(pid);
    return 0;
}

static int outer(void *unused) {
    (void)unused;
    CHECK(getpid() == 1, "it is %d", getpid());
    pid_t between = fork();
    CHECK(between >= 0, "no child");
    if (between == 0) {
        new_user(CLONE_NEWPID, 7, 7);
        pid_t pid = child(inner, NULL);
        until_prepared(steps[1]);
        prepared(steps[0]);
        CHECK(pid == 3 && getpid() == 2, "it is %d, its child %d", getpid(), pid);
        go_on(steps[1]);
        ends_well(pid);
        _exit(0);
    }
    ends_well(between);
    return 0;
}

static int maker(void *unused) {
    (void)unused;
    new_user(CLONE_NEWPID, 0, 0);
    ends_well(child(outer, NULL));
    return 0;
}

int main(void) {
    for (int i = 0; i < 3; i++) steps[i] = new_steps();
    pid_t pid = child(maker, NULL);
    until_prepared(steps[0]);
    char before[5][256], now[256];
    pid_t all[5] = {pid};
    for (int i = 1; i < 5; i++) all[i] = child_of(all[i - 1]);
    for (int i = 0; i < 5; i++) numbers_of(all[i], before[i]);
    ready();
    for (int i = 0; i < 5; i++) {
        numbers_of(all[i], now);
        CHECK(strcmp(before[i], now) == 0, "process %d had %s and has %s", all[i], before[i], now);
    }
    go_on(steps[0]);
    ends_well(pid);
    return passed();
}
