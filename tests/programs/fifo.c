/* A named pipe in a folder, open at both ends, with bytes in it. */
#include "check.h"

int main(void) {
    char *path = in_folder("fifo");
    MUST(mkfifo(path, 0600));
    int reader = MUST(open(path, O_RDONLY | O_NONBLOCK));
    int writer = MUST(open(path, O_WRONLY));
    write_all(writer, "queued", 6);
    ready();
    char text[16];
    CHECK(read(reader, text, sizeof text) == 6 && memcmp(text, "queued", 6) == 0, "the bytes are lost");
    CHECK(read(reader, text, sizeof text) < 0 && errno == EAGAIN, "the writer is lost");
    int second = MUST(open(path, O_WRONLY | O_NONBLOCK));
    write_all(second, "by name", 7);
    CHECK(read(reader, text, sizeof text) == 7, "the name leads to another pipe");
    close(second);
    close(writer);
    CHECK(read(reader, text, sizeof text) == 0, "it does not end with its writers");
    return passed();
}
