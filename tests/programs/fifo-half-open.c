/* FIFOs: opening that waits for the other side, in two processes; a deleted one with bytes in it. */
#include "check.h"

static int opens_for_reading(void *path) {
    int fd = MUST(open(path, O_RDONLY));
    char text[8];
    read_all(fd, text, 5);
    return memcmp(text, "hello", 5) == 0 ? 11 : 1;
}

static int opens_for_writing(void *path) {
    int fd = MUST(open(path, O_WRONLY));
    write_all(fd, "howdy", 5);
    return 12;
}

int main(void) {
    char *one = in_folder("one"), *two = "/tmp/roam-test-two", *gone = in_folder("gone");
    unlink(two);
    MUST(mkfifo(one, 0600));
    MUST(mkfifo(two, 0600));
    MUST(mkfifo(gone, 0620));
    int alone = MUST(open(two, O_RDONLY | O_NONBLOCK));
    close(alone);
    pid_t reads = child(opens_for_reading, one), writes = child(opens_for_writing, two);
    int reader = MUST(open(gone, O_RDONLY | O_NONBLOCK)), writer = MUST(open(gone, O_WRONLY));
    write_all(writer, "queued", 6);
    MUST(unlink(gone));
    ready();
    char text[16];
    int status;
    CHECK(read(reader, text, sizeof text) == 6 && memcmp(text, "queued", 6) == 0, "the bytes of the deleted one are lost");
    struct stat stat;
    MUST(fstat(reader, &stat));
    CHECK(S_ISFIFO(stat.st_mode) && stat.st_nlink == 0, "it is %o with %lu names", stat.st_mode, (unsigned long)stat.st_nlink);
    write_all(writer, "more", 4);
    CHECK(read(reader, text, sizeof text) == 4, "both ends came apart");
    close(writer);
    CHECK(read(reader, text, sizeof text) == 0, "it does not end with its writer");
    int fd = MUST(open(one, O_WRONLY));
    write_all(fd, "hello", 5);
    MUST(waitpid(reads, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 11, "the reader ended with %x", status);
    fd = MUST(open(two, O_RDONLY));
    read_all(fd, text, 5);
    MUST(waitpid(writes, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 12, "the writer ended with %x", status);
    return passed();
}
