/* The working directory: reached by a symbolic link, renamed while in it, on the session's own folder; a child's. */
#include "check.h"

static int go[2], back[2];

static int other(void *folder) {
    MUST(chdir(folder));
    write_all(back[1], "x", 1);
    char byte, path[4096], wanted[4096];
    read_all(go[0], &byte, 1);
    snprintf(wanted, sizeof wanted, "%s", realpath(in_folder("real"), path));
    CHECK(getcwd(path, sizeof path) && strcmp(path, wanted) == 0, "the child is in %s", path);
    return access("inside", F_OK) == 0 ? 4 : 1;
}

int main(void) {
    MUST(mkdir(in_folder("real"), 0700));
    close(MUST(open(in_folder("real/inside"), O_WRONLY | O_CREAT, 0600)));
    MUST(symlink("real", in_folder("link")));
    MUST(pipe(go));
    MUST(pipe(back));
    pid_t pid = child(other, in_folder("link"));
    MUST(mkdir("/tmp/roam-test-before", 0700));
    MUST(chdir("/tmp/roam-test-before"));
    MUST(rename("/tmp/roam-test-before", "/tmp/roam-test-after"));
    umask(027);
    char byte, path[4096];
    read_all(back[0], &byte, 1);
    ready();
    CHECK(getcwd(path, sizeof path) && strcmp(path, "/tmp/roam-test-after") == 0, "it is in %s", path);
    close(MUST(open("made", O_WRONLY | O_CREAT, 0666)));
    struct stat stat;
    MUST(lstat("/tmp/roam-test-after/made", &stat));
    CHECK((stat.st_mode & 0777) == 0640, "made with mode %o", stat.st_mode);
    write_all(go[1], "x", 1);
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4, "the child ended with %x", status);
    return passed();
}
