/* A network socket in a network of the program's own. */
#include "namespaces.h"
#include <netinet/in.h>

static int body(void *argument) {
    new_user(CLONE_NEWNET, 0, 0);
    int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    prepared(argument);
    MUST(listen(fd, 1));
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal("it is a network socket in a network namespace that the program made");
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
