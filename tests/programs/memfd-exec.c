/* A program that runs from a memfd and not from a path: its executable is that file. */
#include "check.h"
#include <sys/sendfile.h>

int main(int count, char **words) {
    if (count == 1) {
        int from = MUST(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        struct stat stat;
        MUST(fstat(from, &stat));
        int to = MUST(memfd_create("copied program", MFD_CLOEXEC));
        for (off_t at = 0; at < stat.st_size;) MUST(sendfile(to, from, &at, (size_t)(stat.st_size - at)));
        char *argv[] = {words[0], "inner", NULL};
        fexecve(to, argv, environ);
        failed("fexecve");
    }
    char exe[256] = {0};
    MUST(readlink("/proc/self/exe", exe, sizeof exe - 1));
    CHECK(strstr(exe, "copied program"), "the test itself: %s", exe);
    ready();
    memset(exe, 0, sizeof exe);
    MUST(readlink("/proc/self/exe", exe, sizeof exe - 1));
    CHECK(strstr(exe, "copied program"), "the executable is now %s", exe);
    return passed();
}
