/* A program that made namespaces for itself, as sandboxes do. Where that is forbidden there is nothing to refuse, so
 * it takes what it gets: a chroot needs the same right. */
#include "check.h"
#include <sched.h>

static int go[2], back[2];

static int body(void *unused) {
    (void)unused;
    MUST(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWUTS));
    MUST(sethostname("elsewhere", 9));
    write_all(back[1], "x", 1);
    char byte, name[65] = {0};
    read_all(go[0], &byte, 1);
    MUST(gethostname(name, sizeof name - 1));
    return strcmp(name, "elsewhere") == 0 ? 5 : 1;
}

int main(void) {
    MUST(pipe(go));
    MUST(pipe(back));
    pid_t pid = child(body, NULL);
    char byte;
    read_all(back[0], &byte, 1);
    expect_refusal("it made namespaces of its own (user, net, uts)");
    ready();
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "it ended with %x", status);
    return passed();
}
