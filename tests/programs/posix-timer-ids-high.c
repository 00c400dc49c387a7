/* Ids of POSIX timers far up, as a program has that made and deleted many: they are kept, and new ones get others. */
#include "check.h"

int main(void) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    timer_t kept[3], passed_by;
    struct itimerspec left;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 20000; j++) {
            MUST(timer_create(CLOCK_MONOTONIC, &event, &passed_by));
            MUST(timer_delete(passed_by));
        }
        MUST(timer_create(CLOCK_MONOTONIC, &event, &kept[i]));
        MUST(timer_settime(kept[i], 0, &(struct itimerspec){{i + 1, 0}, {9000, 0}}, NULL));
    }
    CHECK((int)(intptr_t)kept[2] > 60000, "the test itself: id %d", (int)(intptr_t)kept[2]);
    ready();
    MUST(timer_create(CLOCK_MONOTONIC, &event, &passed_by));
    for (int i = 0; i < 3; i++) {
        MUST(timer_gettime(kept[i], &left));
        CHECK(left.it_interval.tv_sec == i + 1, "timer %d is another's", i);
        CHECK(passed_by != kept[i], "an id is given twice");
        MUST(timer_delete(kept[i]));
    }
    return passed();
}
