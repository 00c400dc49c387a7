/* Two thousand descriptors of all sorts, with gaps, each of them what it was. */
#include "check.h"
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { ROUNDS = 500 };

int main(void) {
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    static int files[ROUNDS], events[ROUNDS], ends[ROUNDS][2];
    for (int i = 0; i < ROUNDS; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%d", i % 50);
        files[i] = MUST(open(in_folder(name), O_RDWR | O_CREAT, 0600));
        MUST(lseek(files[i], i, SEEK_SET));
        events[i] = MUST(eventfd((unsigned)i + 1, i % 2 ? EFD_NONBLOCK : 0));
        MUST(pipe2(ends[i], i % 3 ? O_CLOEXEC : 0));
        /* All pipes of a user have room for 64 MiB together, and on the road there are others. */
        MUST(fcntl(ends[i][1], F_SETPIPE_SZ, 4096));
        write_all(ends[i][1], &i, sizeof i);
        /* Gaps. */
        if (i % 5 == 0) {
            close(files[i]);
            files[i] = -1;
        }
    }
    ready();
    for (int i = 0; i < ROUNDS; i++) {
        int value;
        uint64_t count;
        CHECK(files[i] < 0 || lseek(files[i], 0, SEEK_CUR) == i, "file %d is at %lld", i, (long long)lseek(files[i], 0, SEEK_CUR));
        read_all(events[i], &count, 8);
        CHECK(count == (uint64_t)i + 1, "counter %d is %llu", i, (unsigned long long)count);
        read_all(ends[i][0], &value, sizeof value);
        CHECK(value == i, "pipe %d has %d", i, value);
        CHECK(fcntl(ends[i][0], F_GETFD) == (i % 3 ? FD_CLOEXEC : 0), "close-on-exec of pipe %d", i);
    }
    return passed();
}
