/* Event counters, plain and as semaphores, and one shared by two processes. */
#include "check.h"
#include <sys/eventfd.h>

static int shared;

static int other(void *unused) {
    (void)unused;
    uint64_t value;
    read_all(shared, &value, 8);
    return (int)value;
}

int main(void) {
    int plain = MUST(eventfd(0, EFD_NONBLOCK)), semaphore = MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
    shared = MUST(eventfd(0, 0));
    uint64_t value = 123456789012;
    write_all(plain, &value, 8);
    pid_t pid = child(other, NULL);
    ready();
    read_all(plain, &value, 8);
    CHECK(value == 123456789012, "the counter is %llu", (unsigned long long)value);
    CHECK(read(plain, &value, 8) < 0 && errno == EAGAIN, "the counter does not start anew");
    for (int i = 0; i < 3; i++) {
        read_all(semaphore, &value, 8);
        CHECK(value == 1, "a semaphore gives %llu", (unsigned long long)value);
    }
    CHECK(read(semaphore, &value, 8) < 0, "the semaphore gives more than it had");
    value = 77;
    write_all(shared, &value, 8);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WEXITSTATUS(status) == 77, "the waiting child got %d", WEXITSTATUS(status));
    return passed();
}
