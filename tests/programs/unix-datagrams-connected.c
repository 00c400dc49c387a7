/* Datagram sockets: connected ones, who sent what (bound, unbound, chosen names), a receiver that is full. */
#include "check.h"
#include <stddef.h>
#include <sys/un.h>

static struct sockaddr_un name_of(const char *text, socklen_t *length) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memcpy(name.sun_path + 1, text, strlen(text));
    *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
    return name;
}

static int bound(const char *text) {
    socklen_t length;
    struct sockaddr_un name = name_of(text, &length);
    int fd = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    MUST(bind(fd, (struct sockaddr *)&name, length));
    return fd;
}

static int full_sender, go[2];

static int waits_to_send(void *unused) {
    (void)unused;
    write_all(go[1], "x", 1);
    return send(full_sender, "at last", 7, 0) == 7 ? 6 : 1;
}

int main(void) {
    socklen_t length, other_length;
    struct sockaddr_un name = name_of("roam-test-receiver", &length), from;
    int receiver = bound("roam-test-receiver"), sender = bound("roam-test-sender"), nobody = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    MUST(connect(sender, (struct sockaddr *)&name, length));
    write_all(sender, "from the sender", 15);
    CHECK(sendto(nobody, "from nobody", 11, 0, (struct sockaddr *)&name, length) == 11, "nobody can't send");
    CHECK(send(sender, "", 0, 0) == 0, "no empty datagram");
    write_all(sender, "last", 4);
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    write_all(pair[0], "pair", 4);
    int crowded = bound("roam-test-full");
    full_sender = MUST(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    struct sockaddr_un full = name_of("roam-test-full", &other_length);
    MUST(connect(full_sender, (struct sockaddr *)&full, other_length));
    int count = 0;
    while (send(full_sender, "fill", 4, 0) == 4) count++;
    CHECK(errno == EAGAIN && count > 0, "the test itself");
    MUST(fcntl(full_sender, F_SETFL, 0));
    MUST(pipe(go));
    pid_t pid = child(waits_to_send, NULL);
    char text[64];
    read_all(go[0], text, 1);
    ready();
    socklen_t got = sizeof from;
    CHECK(recvfrom(receiver, text, 64, 0, (struct sockaddr *)&from, &got) == 15 && memcmp(text, "from the sender", 15) == 0, "first");
    CHECK(memcmp(from.sun_path + 1, "roam-test-sender", 16) == 0, "another sent it");
    got = sizeof from;
    CHECK(recvfrom(receiver, text, 64, 0, (struct sockaddr *)&from, &got) == 11, "what nobody sent");
    CHECK(got <= sizeof(sa_family_t), "nobody has a name");
    CHECK(recv(receiver, text, 64, MSG_DONTWAIT) == 0, "the empty one");
    CHECK(recv(receiver, text, 64, MSG_DONTWAIT) == 4, "the last one");
    CHECK(recv(receiver, text, 64, MSG_DONTWAIT) < 0 && errno == EAGAIN, "more than was sent");
    struct sockaddr_un peer;
    got = sizeof peer;
    MUST(getpeername(sender, (struct sockaddr *)&peer, &got));
    CHECK(got == length && memcmp(&peer, &name, length) == 0, "the sender is connected with another");
    write_all(sender, "again", 5);
    CHECK(recv(receiver, text, 64, MSG_DONTWAIT) == 5, "the connection is lost");
    CHECK(recv(pair[1], text, 64, MSG_DONTWAIT) == 4, "the pair's is lost");
    int status;
    for (int i = 0; i < count; i++) CHECK(recv(crowded, text, 64, MSG_DONTWAIT) == 4, "number %d of %d is lost", i, count);
    CHECK(recv(crowded, text, 64, 0) == 7 && memcmp(text, "at last", 7) == 0, "who waited sent something else");
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 6, "who waited ended with %x", status);
    return passed();
}
