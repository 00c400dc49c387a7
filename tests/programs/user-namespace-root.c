/* A user who is root in a namespace of his own, with some capabilities, some that exec keeps, and settings of what
 * root means; beside it one who gave up everything, as sandboxes do. */
#include "namespaces.h"

#define BIT(capability) (1ull << (capability))

static void stay(struct steps *steps) {
    char before[256], now[256];
    rights(before, sizeof before);
    prepared(steps);
    rights(now, sizeof now);
    CHECK(strcmp(before, now) == 0, "it had %s and has %s", before, now);
}

static int root(void *argument) {
    new_user(0, 0, 0);
    uint64_t some = BIT(CAP_SYS_ADMIN) | BIT(CAP_SETPCAP) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SETUID);
    MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE, 0, 0, 0));
    MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0));
    set_rights(some, some, BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_CHOWN));
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
    MUST(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE));
    set_rights(BIT(CAP_SYS_ADMIN), some, BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_CHOWN));
    stay(argument);
    CHECK(geteuid() == 0, "it is %u", geteuid());
    /* What it put aside it can take again, and nothing else. */
    set_rights(some, some, BIT(CAP_NET_BIND_SERVICE));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, 0}, {0, 0, 0}};
    CHECK(syscall(SYS_capset, &header, all) < 0 && errno == EPERM, "it has got more");
    return 0;
}

static int nobody(void *argument) {
    new_user(0, 0, 0);
    set_rights(0, 0, 0);
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    stay(argument);
    CHECK(unshare(CLONE_NEWUTS) < 0 && errno == EPERM, "it may make what it may not");
    return 0;
}

int main(void) {
    struct steps *steps[2] = {new_steps(), new_steps()};
    pid_t pids[2] = {child(root, steps[0]), child(nobody, steps[1])};
    for (int i = 0; i < 2; i++) until_prepared(steps[i]);
    ready();
    CHECK(!shares(pids[0], pids[1], "user"), "they share their user namespace");
    for (int i = 0; i < 2; i++) go_on(steps[i]);
    for (int i = 0; i < 2; i++) ends_well(pids[i]);
    return passed();
}
