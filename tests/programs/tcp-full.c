/* A connection full to the last byte in both directions, and a writer that waits in the middle. */
#include "inet.h"

enum { LENGTH = 12 << 20 };
static char block[LENGTH], back[LENGTH];
static int waiting[2];

static int writer(void *unused) {
    (void)unused;
    size_t done = 0;
    while (done < LENGTH) {
        ssize_t put = send(waiting[0], block + done, LENGTH - done, 0);
        CHECK(put > 0 || errno == EINTR, "sending fails");
        if (put > 0) done += (size_t)put;
    }
    return 9;
}

static size_t fill_up(int fd) {
    size_t done = 0;
    /* Until the other side's window and the own buffer are full, and stay so. */
    for (int still = 0; still < 20 && done < LENGTH;) {
        ssize_t put = send(fd, block + done, LENGTH - done, MSG_DONTWAIT);
        if (put > 0) done += (size_t)put, still = 0;
        else still++, poll(NULL, 0, 5);
    }
    CHECK(done < LENGTH, "it takes everything");
    return done;
}

int main(void) {
    fill(block, LENGTH, 11);
    int pair[2];
    connection(AF_INET, pair);
    connection(AF_INET6, waiting);
    size_t there = fill_up(pair[0]), home = fill_up(pair[1]);
    pid_t pid = child(writer, NULL);
    /* It has begun; how far it got does not matter. */
    await(waiting[1], POLLIN);
    ready();
    read_all(pair[1], back, there);
    CHECK(memcmp(block, back, there) == 0, "other bytes came");
    read_all(pair[0], back, home);
    CHECK(memcmp(block, back, home) == 0, "other bytes came back");
    char byte;
    CHECK(recv(pair[0], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more came back than was sent");
    CHECK(recv(pair[1], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more came than was sent");
    read_all(waiting[1], back, LENGTH);
    CHECK(memcmp(block, back, LENGTH) == 0, "the waiting writer sent other bytes");
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 9, "the writer ended with %x", status);
    return passed();
}
