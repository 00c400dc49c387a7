/* A connection that waits to be accepted and has sent something: refused for that moment; nothing is lost. */
#include "inet.h"

int main(void) {
    int listener = listen_on(AF_INET, 8), client = call(AF_INET, port_of(listener, false));
    write_all(client, "hello", 5);
    expect_refusal("has data and is not accepted yet");
    ready();
    int server = MUST(accept(listener, NULL, NULL));
    char text[8];
    read_all(server, text, 5);
    CHECK(memcmp(text, "hello", 5) == 0, "other bytes");
    return passed();
}
