/* A message queue in a namespace of its own: only the session's are carried. Nobody has it open, and it must not get lost. */
#include "namespaces.h"
#include <mqueue.h>

static int body(void *argument) {
    new_user(CLONE_NEWIPC, 0, 0);
    mqd_t queue = MUST(mq_open("/inside", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, NULL));
    MUST(mq_send(queue, "kept", 4, 0));
    MUST(mq_close(queue));
    prepared(argument);
    char room[8192] = {0};
    queue = MUST(mq_open("/inside", O_RDWR | O_CLOEXEC));
    MUST(mq_receive(queue, room, sizeof room, NULL));
    CHECK(strcmp(room, "kept") == 0, "the message is %s", room);
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    pid_t pid = child(body, steps);
    until_prepared(steps);
    expect_refusal("they are carried only where all programs share them");
    ready();
    go_on(steps);
    ends_well(pid);
    return passed();
}
