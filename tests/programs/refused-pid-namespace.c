/* A program that is about to start the first process of a pid namespace: the kernel shows nobody which one that is. */
#include "namespaces.h"

static int body(void *argument) {
    new_user(CLONE_NEWPID, 0, 0);
    prepared(argument);
    pid_t first = fork();
    if (first == 0) _exit(getpid() == 1 ? 0 : 1);
    ends_well(first);
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal("the pid namespace of its children: it has no process yet");
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
