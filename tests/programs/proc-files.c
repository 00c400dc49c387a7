/* Open files of /proc and /sys: half read, of the own process and of a child, a folder, one to be written. */
#include "check.h"
#include <dirent.h>

static int sleeper(void *unused) {
    (void)unused;
    while (pause() < 0) {
    }
    return 0;
}

static char *between(char *text, const char *name) {
    char *found = strstr(text, name);
    CHECK(found, "no %s in it", name);
    return found + strlen(name);
}

int main(void) {
    pid_t pid = child(sleeper, NULL);
    char path[64], text[4096], start[64];
    int maps = MUST(open("/proc/self/maps", O_RDONLY)), status = MUST(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    int fds = MUST(open("/proc/self/fd", O_RDONLY | O_DIRECTORY)), name = MUST(open("/proc/self/comm", O_RDWR));
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int of_child = MUST(open(path, O_RDONLY));
    int system = MUST(open("/proc/sys/kernel/ostype", O_RDONLY)), self = MUST(open("/proc/self", O_RDONLY | O_DIRECTORY));
    int place = MUST(open("/proc/self/exe", O_PATH)), sys = MUST(open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY));
    read_all(maps, start, 40);
    ready();
    CHECK(lseek(maps, 0, SEEK_CUR) == 40, "the maps are at %lld", (long long)lseek(maps, 0, SEEK_CUR));
    MUST(lseek(maps, 0, SEEK_SET));
    read_all(maps, text, 40);
    CHECK(memcmp(text, start, 40) == 0, "they begin otherwise");
    text[MUST(read(status, text, sizeof text - 1))] = 0;
    CHECK(atoi(between(text, "\nPid:\t")) == getpid(), "the status is of %d", atoi(between(text, "\nPid:\t")));
    text[MUST(read(of_child, text, sizeof text - 1))] = 0;
    CHECK(atoi(between(text, "\nPid:\t")) == pid, "the child's status is of %d", atoi(between(text, "\nPid:\t")));
    write_all(name, "renamed", 7);
    text[MUST(pread(name, text, sizeof text - 1, 0))] = 0;
    CHECK(strcmp(text, "renamed\n") == 0, "the name is %s", text);
    snprintf(path, sizeof path, "%d", maps);
    CHECK(faccessat(fds, path, F_OK, 0) == 0, "the folder is of another process");
    CHECK(faccessat(self, "task", F_OK, 0) == 0, "the process's folder is another");
    text[MUST(read(system, text, sizeof text - 1))] = 0;
    CHECK(strcmp(text, "Linux\n") == 0, "the system is %s", text);
    struct stat one, two;
    MUST(fstat(place, &one));
    MUST(stat("/proc/self/exe", &two));
    CHECK(one.st_ino == two.st_ino && S_ISREG(one.st_mode), "the place of the program is another");
    CHECK(read(sys, text, sizeof text) > 0, "/sys can't be read");
    end_child(pid);
    MUST(lseek(of_child, 0, SEEK_SET));
    CHECK(read(of_child, text, sizeof text) < 0 && errno == ESRCH, "it is not the child that ended");
    return passed();
}
