/* Whose a process is: ids of every sort, supplementary groups, capabilities, secure bits, no new privileges. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>

static struct state {
    uid_t uids[4];
    gid_t gids[4];
    gid_t groups[512];
    int many, bits, keep, no_new, dumpable;
    struct __user_cap_data_struct caps[2];
    uint64_t bounding, ambient;
} before, after;

static void look(struct state *s) {
    MUST(getresuid(&s->uids[0], &s->uids[1], &s->uids[2]));
    MUST(getresgid(&s->gids[0], &s->gids[1], &s->gids[2]));
    s->uids[3] = (uid_t)setfsuid((uid_t)-1);
    s->gids[3] = (gid_t)setfsgid((gid_t)-1);
    s->many = MUST(getgroups(512, s->groups));
    s->bits = MUST(prctl(PR_GET_SECUREBITS));
    s->keep = MUST(prctl(PR_GET_KEEPCAPS));
    s->no_new = MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    s->dumpable = MUST(prctl(PR_GET_DUMPABLE));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    MUST(syscall(SYS_capget, &header, s->caps));
    for (int cap = 0; cap < 64; cap++) {
        int bound = prctl(PR_CAPBSET_READ, cap), ambient = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
        if (bound > 0) s->bounding |= 1ull << cap;
        if (ambient > 0) s->ambient |= 1ull << cap;
    }
}

int main(void) {
    MUST(prctl(PR_SET_KEEPCAPS, 1));
    look(&before);
    CHECK(before.keep == 1, "the test itself");
    ready();
    look(&after);
    CHECK(memcmp(before.uids, after.uids, sizeof before.uids) == 0, "the uid was %u and is %u", before.uids[0], after.uids[0]);
    CHECK(memcmp(before.gids, after.gids, sizeof before.gids) == 0, "the gid was %u and is %u", before.gids[0], after.gids[0]);
    CHECK(before.many == after.many && memcmp(before.groups, after.groups, (size_t)before.many * sizeof(gid_t)) == 0,
          "%d groups instead of %d", after.many, before.many);
    CHECK(before.bits == after.bits && before.keep == after.keep, "the secure bits were %x and are %x", before.bits, after.bits);
    CHECK(before.no_new == after.no_new && before.dumpable == after.dumpable, "no_new_privs %d, dumpable %d", after.no_new, after.dumpable);
    CHECK(memcmp(before.caps, after.caps, sizeof before.caps) == 0, "capabilities %x instead of %x", after.caps[0].permitted, before.caps[0].permitted);
    CHECK(before.bounding == after.bounding, "the bounding set was %llx and is %llx", (unsigned long long)before.bounding, (unsigned long long)after.bounding);
    CHECK(before.ambient == after.ambient, "the ambient set was %llx and is %llx", (unsigned long long)before.ambient, (unsigned long long)after.ambient);
    return passed();
}
