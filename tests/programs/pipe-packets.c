/* A pipe in packet mode: each write is one read. */
#include "check.h"

int main(void) {
    int ends[2];
    MUST(pipe2(ends, O_DIRECT | O_NONBLOCK));
    write_all(ends[1], "one", 3);
    write_all(ends[1], "second", 6);
    ready();
    char text[64];
    CHECK(read(ends[0], text, sizeof text) == 3, "the first packet");
    CHECK(read(ends[0], text, sizeof text) == 6 && memcmp(text, "second", 6) == 0, "the second packet");
    write_all(ends[1], "a", 1);
    write_all(ends[1], "b", 1);
    CHECK(read(ends[0], text, sizeof text) == 1, "packet mode is lost");
    return passed();
}
