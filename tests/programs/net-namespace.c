/* Networks of their own, with the loopback interface up and down. Abstract names of unix sockets are known in one
 * network only: the same name leads elsewhere outside. Connections that were there hold. */
#include "namespaces.h"
#include <net/if.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/un.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0roam-net-namespace"};
static const socklen_t length = offsetof(struct sockaddr_un, sun_path) + 19;

static int listener(void) {
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    MUST(bind(fd, (struct sockaddr *)&address, length));
    MUST(listen(fd, 4));
    return fd;
}

static int client(void) {
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    MUST(connect(fd, (struct sockaddr *)&address, length));
    return fd;
}

static void talk(int from, int to, const char *text) {
    char room[64] = {0};
    write_all(from, text, strlen(text));
    read_all(to, room, strlen(text));
    CHECK(strcmp(room, text) == 0, "%s came as %s", text, room);
}

static bool loopback(bool change) {
    int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct ifreq request = {.ifr_name = "lo"};
    MUST(ioctl(fd, SIOCGIFFLAGS, &request));
    if (change) {
        request.ifr_flags |= IFF_UP;
        MUST(ioctl(fd, SIOCSIFFLAGS, &request));
    }
    close(fd);
    return request.ifr_flags & IFF_UP;
}

static int body(void *argument) {
    struct steps *steps = argument;
    new_user(CLONE_NEWNET, 0, 0);
    bool up = steps->told[1] % 2 == 0;
    if (up) loopback(true);
    int listening = listener(), connected = client(), accepted = MUST(accept(listening, NULL, NULL)), pair[2];
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
    write_all(pair[0], "queued", 6);
    write_all(connected, "before", 6);
    prepared(steps);
    char room[8] = {0};
    read_all(pair[1], room, 6);
    CHECK(strcmp(room, "queued") == 0, "queued came as %s", room);
    read_all(accepted, room, 6);
    CHECK(strcmp(room, "before") == 0, "before came as %s", room);
    talk(connected, accepted, "after");
    int again = client(), other = MUST(accept(listening, NULL, NULL));
    talk(again, other, "anew");
    CHECK(loopback(false) == up, "loopback is %s", up ? "down" : "up");
    CHECK(loopback(true), "loopback can't be brought up");
    return 0;
}

int main(void) {
    int listening = listener();
    struct steps *steps[2] = {new_steps(), new_steps()};
    /* One of the two numbers is even, the other odd. */
    if (steps[0]->told[1] % 2 == steps[1]->told[1] % 2) steps[1]->told[1] = MUST(dup(steps[1]->told[1]));
    pid_t pids[2] = {child(body, steps[0]), child(body, steps[1])};
    for (int i = 0; i < 2; i++) until_prepared(steps[i]);
    CHECK(!shares(pids[0], pids[1], "net") && !shares(pids[0], getpid(), "net"), "they share a network");
    ready();
    CHECK(!shares(pids[0], pids[1], "net") && !shares(pids[0], getpid(), "net"), "they share a network now");
    int connected = client(), accepted = MUST(accept(listening, NULL, NULL));
    talk(connected, accepted, "outside");
    for (int i = 0; i < 2; i++) go_on(steps[i]);
    for (int i = 0; i < 2; i++) ends_well(pids[i]);
    return passed();
}
