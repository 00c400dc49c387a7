/* Event counters at their end: a writer that waits, readers that wait, a semaphore that several share. */
#include "check.h"
#include <poll.h>
#include <sys/eventfd.h>

static int full, empty, tokens;

static int writer(void *unused) {
    (void)unused;
    uint64_t five = 5;
    return write(full, &five, 8) == 8 ? 7 : 1;
}
static int reader(void *unused) {
    (void)unused;
    uint64_t value = 0;
    return read(empty, &value, 8) == 8 ? (int)value : 1;
}
static int taker(void *unused) {
    (void)unused;
    uint64_t value = 0;
    return read(tokens, &value, 8) == 8 && value == 1 ? 9 : 1;
}

int main(void) {
    full = MUST(eventfd(0, 0));
    empty = MUST(eventfd(0, 0));
    tokens = MUST(eventfd(0, EFD_SEMAPHORE));
    uint64_t most = UINT64_MAX - 1, value;
    write_all(full, &most, 8);
    pid_t writes = child(writer, NULL), reads = child(reader, NULL), takers[] = {child(taker, NULL), child(taker, NULL)};
    ready();
    int status;
    struct pollfd polls[] = {{full, POLLIN | POLLOUT, 0}, {empty, POLLIN | POLLOUT, 0}};
    CHECK(poll(polls, 2, 0) == 2 && polls[0].revents == POLLIN && polls[1].revents == POLLOUT, "events %x and %x",
          polls[0].revents, polls[1].revents);
    read_all(full, &value, 8);
    CHECK(value == most, "the counter was %llx", (unsigned long long)value);
    MUST(waitpid(writes, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the writer ended with %x", status);
    read_all(full, &value, 8);
    CHECK(value == 5, "the writer added %llu", (unsigned long long)value);
    value = 66;
    write_all(empty, &value, 8);
    MUST(waitpid(reads, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 66, "the reader ended with %x", status);
    value = 3;
    write_all(tokens, &value, 8);
    for (int i = 0; i < 2; i++) {
        MUST(waitpid(takers[i], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9, "a taker ended with %x", status);
    }
    read_all(tokens, &value, 8);
    MUST(fcntl(tokens, F_SETFL, O_NONBLOCK));
    CHECK(value == 1 && read(tokens, &value, 8) < 0 && errno == EAGAIN, "the semaphore has more");
    return passed();
}
