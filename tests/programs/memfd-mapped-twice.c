/* Memory that is mapped once shared and once for oneself, its descriptor closed: what was written privately never shows
 * in the shared one, also where that is still zero; several processes see the same. */
#include "check.h"

enum { PAGE = 4096, PAGES = 6 };

static void look(const char *who, const char *shared, const char *mine) {
    static const char expected[PAGES][2] = {{'s', 's'}, {0, 'p'}, {'s', 'p'}, {0, 0}, {'w', 'w'}, {0, 0}};
    for (int i = 0; i < PAGES; i++) {
        CHECK(shared[i * PAGE] == expected[i][0], "%s: page %d of the shared one has %d", who, i, shared[i * PAGE]);
        CHECK(mine[i * PAGE] == expected[i][1], "%s: page %d of its own has %d", who, i, mine[i * PAGE]);
    }
}

int main(void) {
    int fd = memfd_create("twice", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, PAGES * PAGE) == 0, "%s", strerror(errno));
    char *shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *mine = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(shared != MAP_FAILED && mine != MAP_FAILED, "%s", strerror(errno));
    close(fd);
    shared[0] = 's';
    mine[PAGE] = 'p';
    shared[2 * PAGE] = 's', mine[2 * PAGE] = 'p';
    shared[4 * PAGE] = 'w';
    int told[2], back[2];
    MUST(pipe(told));
    MUST(pipe(back));
    pid_t child = fork();
    MUST(child);
    if (child == 0) {
        char byte;
        if (read(told[0], &byte, 1) != 1) _exit(2);
        look("the child", shared, mine);
        shared[5 * PAGE] = 'c';
        _exit(write(back[1], &byte, 1) != 1);
    }
    ready();
    look("the parent", shared, mine);
    char byte = 'g';
    CHECK(write(told[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1, "the child is silent");
    CHECK(shared[5 * PAGE] == 'c' && mine[5 * PAGE] == 'c', "what the child writes does not show");
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with %x", status);
    return passed();
}
