/* A deleted folder that is the working directory, and one that is open; also one inside the other. */
#include "check.h"

int main(void) {
    char *here = in_folder("here"), *open_one = in_folder("open"), *inner = in_folder("open/inner");
    MUST(mkdir(here, 0700));
    MUST(mkdir(open_one, 0750));
    MUST(mkdir(inner, 0700));
    MUST(mkdir("/tmp/roam-test-folder", 0700));
    int fds[] = {MUST(open(open_one, O_RDONLY | O_DIRECTORY)), MUST(open(inner, O_PATH | O_DIRECTORY)),
                 MUST(open("/tmp/roam-test-folder", O_RDONLY))};
    MUST(chdir(here));
    MUST(rmdir(inner));
    MUST(rmdir(open_one));
    MUST(rmdir(here));
    MUST(rmdir("/tmp/roam-test-folder"));
    ready();
    char path[4096];
    CHECK(getcwd(path, sizeof path) == NULL && errno == ENOENT, "the working directory is %s", path);
    CHECK(open("new", O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT, "a file can be made in it");
    struct stat stat;
    for (int i = 0; i < 3; i++) {
        MUST(fstat(fds[i], &stat));
        CHECK(S_ISDIR(stat.st_mode) && stat.st_nlink == 0, "folder %d has %lu links", i, (unsigned long)stat.st_nlink);
        CHECK(openat(fds[i], "new", O_WRONLY | O_CREAT, 0600) < 0 && errno == ENOENT, "a file can be made in it");
    }
    MUST(fstat(fds[0], &stat));
    CHECK((stat.st_mode & 0777) == 0750, "its mode is %o", stat.st_mode);
    CHECK(access(here, F_OK) < 0 && access(open_one, F_OK) < 0, "the names are back");
    MUST(chdir("/"));
    MUST(fchdir(fds[0]));
    CHECK(getcwd(path, sizeof path) == NULL, "it can be named: %s", path);
    return passed();
}
