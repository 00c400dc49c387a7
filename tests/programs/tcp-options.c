/* Options of TCP sockets, of both sides, a listener and one that has no connection; what is inherited. */
#include "inet.h"

static const struct { int level, name, value; } wanted[] = {
    {SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_OOBINLINE, 1}, {SOL_SOCKET, SO_RCVLOWAT, 3},
    {IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 77}, {IPPROTO_TCP, TCP_KEEPINTVL, 13},
    {IPPROTO_TCP, TCP_KEEPCNT, 5}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000}, {IPPROTO_TCP, TCP_LINGER2, 9},
    {IPPROTO_TCP, TCP_SYNCNT, 3}, {IPPROTO_IP, IP_TOS, 0x10}, {SOL_SOCKET, SO_PRIORITY, 4}, {IPPROTO_IP, IP_TTL, 33}, {IPPROTO_IP, IP_MTU_DISCOVER, 0},
};
enum { COUNT = sizeof wanted / sizeof *wanted };

static void choose(int fd) {
    for (int i = 0; i < COUNT; i++) set_option(fd, wanted[i].level, wanted[i].name, wanted[i].value);
    struct linger linger = {1, 12};
    MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    set_option(fd, SOL_SOCKET, SO_SNDBUF, 40000);
    MUST(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
}

static void look(int fd, const char *which, int sendbuf) {
    for (int i = 0; i < COUNT; i++)
        CHECK(option(fd, wanted[i].level, wanted[i].name) == wanted[i].value, "%s: option %d of level %d is %d", which,
              wanted[i].name, wanted[i].level, option(fd, wanted[i].level, wanted[i].name));
    struct linger linger;
    socklen_t length = sizeof linger;
    MUST(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    CHECK(linger.l_onoff == 1 && linger.l_linger == 12, "%s: linger", which);
    CHECK(option(fd, SOL_SOCKET, SO_SNDBUF) == sendbuf, "%s: the buffer is %d", which, option(fd, SOL_SOCKET, SO_SNDBUF));
    char name[16] = {0};
    length = sizeof name;
    MUST(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    CHECK(strcmp(name, "reno") == 0, "%s: congestion control is %s", which, name);
}

/* What only a socket without a connection tells. */
static const struct { int name, value; } early[] = {
    {TCP_MAXSEG, 700}, {TCP_WINDOW_CLAMP, 5000}, {TCP_FASTOPEN, 7}, {TCP_SAVE_SYN, 1},
};

int main(void) {
    int pair[2], plain[2], fresh = MUST(socket(AF_INET, SOCK_STREAM, 0)), listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
    connection(AF_INET, pair);
    connection(AF_INET, plain);
    socklen_t length;
    struct sockaddr_storage any = on_loop(AF_INET, 0, &length);
    choose(pair[0]);
    choose(pair[1]);
    choose(fresh);
    choose(listener);
    set_option(listener, SOL_SOCKET, SO_REUSEPORT, 1);
    for (int i = 0; i < 4; i++) {
        set_option(fresh, IPPROTO_TCP, early[i].name, early[i].value);
        set_option(listener, IPPROTO_TCP, early[i].name, early[i].value);
    }
    /* Some kernels do not tell the size of segments. */
    int told[4];
    for (int i = 0; i < 4; i++) told[i] = option(fresh, IPPROTO_TCP, early[i].name);
    CHECK(told[1] == 5000 && told[2] == 7 && told[3] == 1, "the test itself");
    set_option(pair[0], IPPROTO_TCP, TCP_INQ, 1);
    set_option(pair[0], SOL_SOCKET, SO_ZEROCOPY, 1);
    set_option(pair[0], IPPROTO_IP, IP_MINTTL, 2);
    uint64_t pace = 5000000, paced = 0;
    MUST(setsockopt(pair[0], SOL_SOCKET, SO_MAX_PACING_RATE, &pace, sizeof pace));
    MUST(bind(listener, (struct sockaddr *)&any, length));
    MUST(listen(listener, 3));
    set_option(plain[0], IPPROTO_TCP, TCP_CORK, 1);
    write_all(plain[0], "held", 4);
    int sendbuf = option(pair[0], SOL_SOCKET, SO_SNDBUF);
    int only_v6 = MUST(socket(AF_INET6, SOCK_STREAM, 0));
    set_option(only_v6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    ready();
    look(pair[0], "the asking side", sendbuf);
    look(pair[1], "the accepting side", sendbuf);
    look(fresh, "the new one", sendbuf);
    look(listener, "the listener", sendbuf);
    for (int i = 0; i < 4; i++) {
        int of_new = option(fresh, IPPROTO_TCP, early[i].name), of_listener = option(listener, IPPROTO_TCP, early[i].name);
        CHECK(of_new == told[i] && of_listener == of_new, "option %d is %d and %d", early[i].name, of_new, of_listener);
    }
    CHECK(option(pair[0], IPPROTO_TCP, TCP_INQ) == 1 && option(pair[1], IPPROTO_TCP, TCP_INQ) == 0, "TCP_INQ");
    CHECK(option(pair[0], SOL_SOCKET, SO_ZEROCOPY) == 1 && option(pair[0], IPPROTO_IP, IP_MINTTL) == 2, "zero copy, IP_MINTTL");
    length = sizeof paced;
    MUST(getsockopt(pair[0], SOL_SOCKET, SO_MAX_PACING_RATE, &paced, &length));
    CHECK(paced == pace, "it is paced at %llu", (unsigned long long)paced);
    CHECK(option(listener, SOL_SOCKET, SO_REUSEPORT) == 1 && option(listener, SOL_SOCKET, SO_REUSEADDR) == 0, "reuse");
    CHECK(option(pair[0], SOL_SOCKET, SO_REUSEADDR) == 0 && option(pair[0], SOL_SOCKET, SO_REUSEPORT) == 0, "reuse");
    CHECK(option(plain[0], IPPROTO_TCP, TCP_NODELAY) == 0 && option(plain[0], SOL_SOCKET, SO_KEEPALIVE) == 0, "the plain one");
    CHECK(option(plain[0], IPPROTO_TCP, TCP_CORK) == 1, "the cork is out");
    char text[8];
    set_option(plain[0], IPPROTO_TCP, TCP_CORK, 0);
    read_all(plain[1], text, 4);
    CHECK(memcmp(text, "held", 4) == 0, "what was held back");
    CHECK(option(only_v6, IPPROTO_IPV6, IPV6_V6ONLY) == 1, "IPv6 only");
    int client = call(AF_INET, port_of(listener, false)), server = MUST(accept(listener, NULL, NULL));
    CHECK(option(server, IPPROTO_TCP, TCP_NODELAY) == 1 && option(server, IPPROTO_TCP, TCP_KEEPIDLE) == 77, "nothing is inherited");
    close(client);
    return passed();
}
