/* Calls whose effects could not be carried are absent in a session, and stay so after a move: key rings,
 * userfaultfd, io_uring, perf, bpf, secret memory, Landlock, programs of other architectures; and sockets of several paths, of ciphers and of virtual machines; and options of sockets that can't be read back. Also in new
 * programs. */
#include "proc.h"

static const struct { long number; const char *name; } calls[] = {
    {SYS_userfaultfd, "userfaultfd"}, {SYS_io_uring_setup, "io_uring_setup"}, {SYS_perf_event_open, "perf_event_open"},
    {SYS_bpf, "bpf"}, {SYS_add_key, "add_key"}, {SYS_request_key, "request_key"}, {SYS_keyctl, "keyctl"},
    {SYS_memfd_secret, "memfd_secret"}, {SYS_landlock_create_ruleset, "landlock_create_ruleset"},
    {SYS_landlock_restrict_self, "landlock_restrict_self"}, {0x40000000 | SYS_getpid, "x32 getpid"},
};

static const struct { int family, protocol, error; } sockets[] = {
    {AF_INET, 262 /* IPPROTO_MPTCP */, EPROTONOSUPPORT}, {AF_INET6, 262, EPROTONOSUPPORT}, {AF_ALG, 0, EAFNOSUPPORT},
    {AF_VSOCK, 0, EAFNOSUPPORT},
};

/* BPF for the sockets of a port, signatures, the kernel's TLS. */
static const struct { int level, name; } options[] = {
    {SOL_SOCKET, 50 /* SO_ATTACH_BPF */}, {SOL_SOCKET, 51 /* SO_ATTACH_REUSEPORT_CBPF */},
    {SOL_SOCKET, 52 /* SO_ATTACH_REUSEPORT_EBPF */}, {6, 14 /* TCP_MD5SIG */}, {6, 31 /* TCP_ULP */},
};

/* Alone this program is free; in a session it is not. */
static bool confined;

static int look(void *unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        errno = 0;
        long answer = syscall(calls[i].number, -1l, -1l, -1l, -1l, -1l);
        CHECK(!confined || (answer < 0 && errno == ENOSYS), "%s answers %ld, errno %d", calls[i].name, answer, errno);
    }
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        int fd = socket(sockets[i].family, SOCK_STREAM, sockets[i].protocol);
        CHECK(!confined || (fd < 0 && errno == sockets[i].error), "a socket of family %d is there", sockets[i].family);
        if (fd >= 0) close(fd);
    }
    int one = 1, unix_one = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    CHECK(!confined || (setsockopt(unix_one, SOL_SOCKET, 84 /* SO_INQ */, &one, sizeof one) < 0 && errno == ENOPROTOOPT), "SO_INQ is there");
    close(unix_one);
    int tcp = MUST(socket(AF_INET, SOCK_STREAM, 0));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int answer = setsockopt(tcp, options[i].level, options[i].name, "tls", 4);
        CHECK(answer < 0 && (!confined || errno == ENOPROTOOPT), "option %d answers errno %d", options[i].name, errno);
    }
    close(tcp);
    if (confined) {
        int old;
        __asm__ volatile("int $0x80" : "=a"(old) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
        CHECK(old == -ENOSYS, "a 32-bit call answers %d", old);
    }
    CHECK(!confined || status_number("NoNewPrivs") == 1, "new privileges are allowed");
    return 0;
}

int main(void) {
    confined = status_number("Seccomp") == 2;
    look(NULL);
    long filters = status_number("Seccomp_filters");
    ready();
    CHECK((status_number("Seccomp") == 2) == confined, "it is confined otherwise");
    CHECK(status_number("Seccomp_filters") == filters, "it has %ld filters, had %ld", status_number("Seccomp_filters"), filters);
    look(NULL);
    int status;
    pid_t pid = child(look, NULL);
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "a child ended with %x", status);
    return passed();
}
