/* A program that made mounts of its own, as some sandboxes do. */
#include "namespaces.h"
#include <sys/mount.h>

static int body(void *argument) {
    new_user(CLONE_NEWNS, 0, 0);
    MUST(mount("mine", "/mnt", "tmpfs", 0, NULL));
    MUST(close(MUST(open("/mnt/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600))));
    prepared(argument);
    MUST(access("/mnt/file", R_OK));
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal("it made namespaces of its own (mnt)");
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
