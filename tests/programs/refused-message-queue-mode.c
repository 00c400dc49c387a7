/* A POSIX message queue that its user may not open any more, and a program that has it open: the refusal names both. */
#include "check.h"
#include <mqueue.h>

int main(void) {
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 8};
    char name[64], *words, text[8];
    snprintf(name, sizeof name, "/mode-%d", getpid());
    mqd_t queue = MUST(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes));
    MUST(mq_send(queue, "kept", 5, 0));
    MUST(fchmod(queue, 0));
    if (asprintf(&words, "(process %d): message queue %s", getpid(), name) < 0) abort();
    expect_refusal(words);
    ready();
    CHECK(mq_receive(queue, text, sizeof text, NULL) == 5 && strcmp(text, "kept") == 0, "the message is gone");
    MUST(mq_unlink(name));
    return passed();
}
