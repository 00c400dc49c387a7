/* What a process can read of itself: arguments, environment, executable, auxiliary vector, uid. */
#include "check.h"
#include <sys/auxv.h>

static size_t slurp(const char *path, char *room, size_t size) {
    int fd = MUST(open(path, O_RDONLY));
    size_t length = 0;
    ssize_t got;
    while ((got = read(fd, room + length, size - length)) > 0) length += (size_t)got;
    close(fd);
    return length;
}

static const char *const names[] = {"cmdline", "environ", "comm"};
static char before[3][65536], after[65536];

int main(int count, char **words) {
    if (count == 1) {
        setenv("ROAM_TEST_WORD", "a word with spaces", 1);
        execl("/proc/self/exe", words[0], "first", "", "third  one", NULL);
        failed("exec");
    }
    size_t lengths[3];
    char path[64], exe[4096] = {0}, now[4096] = {0};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/proc/self/%s", names[i]);
        lengths[i] = slurp(path, before[i], sizeof before[i]);
    }
    MUST(readlink("/proc/self/exe", exe, sizeof exe - 1));
    unsigned long page = getauxval(AT_PAGESZ), random = getauxval(AT_RANDOM), vdso = getauxval(AT_SYSINFO_EHDR);
    uid_t uid = getuid();
    gid_t gid = getgid();
    ready();
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/proc/self/%s", names[i]);
        size_t length = slurp(path, after, sizeof after);
        CHECK(length == lengths[i] && memcmp(before[i], after, length) == 0, "%s changed", names[i]);
    }
    MUST(readlink("/proc/self/exe", now, sizeof now - 1));
    CHECK(strcmp(exe, now) == 0, "the executable was %s and is %s", exe, now);
    CHECK(count == 4 && strcmp(words[3], "third  one") == 0, "the arguments changed");
    CHECK(strcmp(getenv("ROAM_TEST_WORD"), "a word with spaces") == 0, "the environment changed");
    CHECK(getauxval(AT_PAGESZ) == page && getauxval(AT_RANDOM) == random && getauxval(AT_SYSINFO_EHDR) == vdso, "auxv");
    CHECK(getuid() == uid && geteuid() == uid && getgid() == gid && getegid() == gid,
          "the uid was %u and is %u", uid, getuid());
    return passed();
}
