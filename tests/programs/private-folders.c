/* What lies in the session's own folders: modes, times, attributes, links, FIFOs, odd names. */
#include "check.h"
#include <sys/xattr.h>
#include <sys/sysmacros.h>

static char folder[3][256];

static char *at(int i, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder[i], name);
    return path;
}

static bool attributes[3];

static void make(int i) {
    MUST(mkdir(folder[i], 0700));
    const mode_t modes[] = {0, 0400, 0200, 0644, 0711, 04755, 02700};
    for (int k = 0; k < 7; k++) {
        char name[16];
        snprintf(name, sizeof name, "mode-%d", k);
        int fd = MUST(open(at(i, name), O_WRONLY | O_CREAT, 0600));
        write_all(fd, name, strlen(name));
        MUST(fchmod(fd, modes[k]));
        struct timespec times[] = {{1000000000 + k, 111}, {1100000000 + k, 222}};
        MUST(futimens(fd, times));
        close(fd);
    }
    MUST(mkdir(at(i, "empty"), 0700));
    MUST(chmod(at(i, "empty"), 01775));
    MUST(mkdir(at(i, "closed"), 0700));
    close(MUST(open(at(i, "closed/inside"), O_WRONLY | O_CREAT, 0600)));
    MUST(chmod(at(i, "closed"), 0));
    MUST(symlink("nowhere at all", at(i, "dangling")));
    MUST(symlink("mode-3", at(i, "link")));
    struct timespec times[] = {{1000000, 5}, {2000000, 7}};
    MUST(utimensat(AT_FDCWD, at(i, "dangling"), times, AT_SYMLINK_NOFOLLOW));
    char *other = strdup(at(i, "hard link"));
    MUST(link(at(i, "mode-4"), other));
    MUST(mkfifo(at(i, "fifo"), 0640));
    close(MUST(open(at(i, "odd \n \\ \xff name"), O_WRONLY | O_CREAT, 0600)));
    attributes[i] = setxattr(at(i, "mode-3"), "user.roam", "kept", 4, 0) == 0
                    && setxattr(at(i, "empty"), "user.folder", "also", 4, 0) == 0;
    MUST(utimensat(AT_FDCWD, at(i, "empty"), times, 0));
    MUST(utimensat(AT_FDCWD, folder[i], times, 0));
}

static void look(int i) {
    struct stat stat, two;
    MUST(lstat(folder[i], &stat));
    CHECK(stat.st_mtim.tv_sec == 2000000 && stat.st_mtim.tv_nsec == 7, "%s: the folder's time is %lld", folder[i],
          (long long)stat.st_mtim.tv_sec);
    const mode_t modes[] = {0, 0400, 0200, 0644, 0711, 04755, 02700};
    for (int k = 0; k < 7; k++) {
        char name[16], text[16];
        snprintf(name, sizeof name, "mode-%d", k);
        MUST(lstat(at(i, name), &stat));
        CHECK((stat.st_mode & 07777) == modes[k], "%s: mode %o, not %o", at(i, name), stat.st_mode & 07777, modes[k]);
        CHECK(stat.st_mtim.tv_sec == 1100000000 + k && stat.st_mtim.tv_nsec == 222, "%s: time of change", at(i, name));
        CHECK(stat.st_atim.tv_sec == 1000000000 + k && stat.st_atim.tv_nsec == 111, "%s: time of access is %lld", at(i, name),
              (long long)stat.st_atim.tv_sec);
        MUST(chmod(at(i, name), 0600));
        int fd = MUST(open(at(i, name), O_RDONLY));
        CHECK(read(fd, text, 16) == (ssize_t)strlen(name) && memcmp(text, name, strlen(name)) == 0, "other content");
        close(fd);
    }
    MUST(lstat(at(i, "empty"), &stat));
    CHECK((stat.st_mode & 07777) == 01775 && stat.st_mtim.tv_sec == 2000000, "the empty folder: mode %o", stat.st_mode);
    MUST(lstat(at(i, "closed"), &stat));
    CHECK((stat.st_mode & 07777) == 0, "the closed folder: mode %o", stat.st_mode);
    MUST(chmod(at(i, "closed"), 0700));
    CHECK(access(at(i, "closed/inside"), F_OK) == 0, "what was in the closed folder is lost");
    char text[32];
    CHECK(readlink(at(i, "dangling"), text, 32) == 14 && memcmp(text, "nowhere at all", 14) == 0, "the link");
    MUST(lstat(at(i, "dangling"), &stat));
    CHECK(stat.st_mtim.tv_sec == 2000000 && stat.st_mtim.tv_nsec == 7, "the link's time is %lld", (long long)stat.st_mtim.tv_sec);
    CHECK(readlink(at(i, "link"), text, 32) == 6, "the second link");
    MUST(lstat(at(i, "hard link"), &stat));
    MUST(lstat(at(i, "mode-4"), &two));
    CHECK(stat.st_ino == two.st_ino && stat.st_nlink == 2, "the hard link is a file of its own");
    MUST(lstat(at(i, "fifo"), &stat));
    CHECK(S_ISFIFO(stat.st_mode) && (stat.st_mode & 07777) == 0640, "the FIFO is %o", stat.st_mode);
    CHECK(access(at(i, "odd \n \\ \xff name"), F_OK) == 0, "the odd name is lost");
    if (attributes[i]) {
        CHECK(getxattr(at(i, "mode-3"), "user.roam", text, 32) == 4 && memcmp(text, "kept", 4) == 0, "the attribute is lost");
        CHECK(getxattr(at(i, "empty"), "user.folder", text, 32) == 4, "the folder's attribute is lost");
    }
}

int main(void) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    snprintf(folder[0], sizeof folder[0], "/tmp/roam-test-private-%d", getpid());
    snprintf(folder[1], sizeof folder[1], "/dev/shm/roam-test-private-%d", getpid());
    snprintf(folder[2], sizeof folder[2], "%s/roam-test-private-%d", runtime ? runtime : "/tmp/", getpid());
    for (int i = 0; i < 3; i++) make(i);
    ready();
    for (int i = 0; i < 3; i++) look(i);
    return passed();
}
