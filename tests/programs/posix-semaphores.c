/* POSIX semaphores: a named one, one in memory that two processes share, and those who wait for them. */
#include "check.h"
#include <semaphore.h>

static sem_t *named, *shared;

static int waits_named(void *unused) {
    (void)unused;
    return sem_wait(named) == 0 ? 0 : 1;
}
static int waits_shared(void *unused) {
    (void)unused;
    if (sem_wait(shared) != 0) return 1;
    return sem_post(named) == 0 ? 0 : 1;
}
static int by_name(void *unused) {
    (void)unused;
    sem_t *own = sem_open("/roam-semaphore", 0);
    return own != SEM_FAILED && sem_wait(own) == 0 && sem_close(own) == 0 ? 0 : 1;
}

static int value(sem_t *semaphore) {
    int now;
    MUST(sem_getvalue(semaphore, &now));
    return now;
}

int main(void) {
    sem_unlink("/roam-semaphore");
    named = sem_open("/roam-semaphore", O_CREAT | O_EXCL, 0640, 0);
    sem_t *counted = sem_open("/roam-counted", O_CREAT, 0600, 12345);
    CHECK(named != SEM_FAILED && counted != SEM_FAILED, "no semaphore");
    MUST(sem_unlink("/roam-counted"));
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(sem_init(shared, 1, 0));
    pid_t pids[] = {child(waits_named, NULL), child(waits_shared, NULL)};
    for (int i = 0; i < 2; i++)
        while (call_of(pids[i], pids[i]) != SYS_futex) sched_yield();
    ready();
    CHECK(value(counted) == 12345 && value(named) == 0 && value(shared) == 0, "%d, %d, %d", value(counted), value(named), value(shared));
    struct stat data;
    MUST(stat("/dev/shm/sem.roam-semaphore", &data));
    CHECK((data.st_mode & 0777) == 0640, "the file's mode is %o", data.st_mode);
    pid_t third = child(by_name, NULL);
    while (call_of(third, third) != SYS_futex) sched_yield();
    MUST(sem_post(shared));
    int status;
    MUST(waitpid(pids[1], &status, 0));
    CHECK(status == 0, "who waited in memory ended with %x", status);
    MUST(sem_post(named));
    MUST(waitpid(pids[0], &status, 0));
    CHECK(status == 0, "who waited for the named one ended with %x", status);
    MUST(waitpid(third, &status, 0));
    CHECK(status == 0, "who came by name afterwards ended with %x", status);
    CHECK(value(named) == 0, "it has %d", value(named));
    MUST(sem_unlink("/roam-semaphore"));
    return passed();
}
