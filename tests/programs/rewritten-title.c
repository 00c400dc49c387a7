/* A program that wrote over its arguments to show a title (as servers do): ps still shows the title. */
#include "proc.h"

int main(int count, char **words) {
    if (count == 1) {
        char *new[] = {words[0], "one-argument-that-is-long-enough", "another", NULL};
        setenv("ROAM_TEST_VARIABLE", "value", 1);
        execv("/proc/self/exe", new);
        failed("exec");
    }
    char before[4096], after[4096], variables[65536];
    size_t room = (size_t)(words[2] + strlen(words[2]) - words[0]);
    CHECK(room > 24, "the test itself");
    memset(words[0], 0, room);
    strcpy(words[0], "title: waiting");
    char *variable = getenv("ROAM_TEST_VARIABLE");
    memcpy(variable, "VALUE", 5);
    read_text("/proc/self/cmdline", before, sizeof before);
    CHECK(strcmp(before, "title: waiting") == 0, "the test itself: %s", before);
    ready();
    read_text("/proc/self/cmdline", after, sizeof after);
    CHECK(strcmp(before, after) == 0, "the title is %s", after);
    int fd = MUST(open("/proc/self/environ", O_RDONLY));
    ssize_t length = MUST(read(fd, variables, sizeof variables));
    CHECK(memmem(variables, (size_t)length, "ROAM_TEST_VARIABLE=VALUE", 24), "the environment shown is another");
    strcpy(words[0], "title: done");
    read_text("/proc/self/cmdline", after, sizeof after);
    CHECK(strncmp(after, "title: done", 11) == 0, "a new title is not shown: %s", after);
    return passed();
}
