/* Processes whose root is a folder (chroot), as a sandbox or a build tool makes it: one that stands in it, one
 * deeper, and one whose working directory is outside of its root. */
#include "namespaces.h"

static char *jail;

static int pipes[3][2], back[2];

/* Tells that it is there and waits until it is to look. */
static void stand(int number) {
    char byte;
    write_all(back[1], "x", 1);
    read_all(pipes[number][0], &byte, 1);
    struct stat root, above;
    MUST(stat("/", &root));
    MUST(stat("/..", &above));
    CHECK(root.st_ino == above.st_ino, "there is something above its root");
    CHECK(access("/inside", R_OK) == 0, "its file is gone");
    CHECK(access("/etc/passwd", F_OK) < 0 && errno == ENOENT, "it sees the files of the pod");
    CHECK(access(jail, F_OK) < 0 && errno == ENOENT, "it finds itself from the top");
    int fd = MUST(open("/new", O_WRONLY | O_CREAT | O_EXCL, 0600));
    close(fd);
    MUST(unlink("/new"));
}

static int in_it(void *unused) {
    (void)unused;
    char path[64];
    new_user(0, getuid(), getgid());
    MUST(chroot(jail));
    MUST(chdir("/"));
    stand(0);
    CHECK(strcmp(getcwd(path, sizeof path), "/") == 0, "it stands in %s", path);
    return 5;
}

static int deeper(void *unused) {
    (void)unused;
    char path[64];
    new_user(0, getuid(), getgid());
    MUST(chroot(jail));
    MUST(chdir("/deeper/still"));
    stand(1);
    CHECK(strcmp(getcwd(path, sizeof path), "/deeper/still") == 0, "it stands in %s", path);
    CHECK(access("../../inside", R_OK) == 0, "its folders lie elsewhere");
    return 5;
}

static int outside(void *folder) {
    new_user(0, getuid(), getgid());
    MUST(chdir(folder));
    MUST(chroot(jail));
    stand(2);
    CHECK(access("outside", R_OK) == 0, "its working directory is another");
    return 5;
}

int main(void) {
    jail = in_folder("jail");
    char *elsewhere = in_folder("elsewhere");
    MUST(mkdir(jail, 0700));
    MUST(mkdir(elsewhere, 0700));
    MUST(mkdir(in_folder("jail/deeper"), 0700));
    MUST(mkdir(in_folder("jail/deeper/still"), 0700));
    close(MUST(open(in_folder("jail/inside"), O_WRONLY | O_CREAT, 0600)));
    close(MUST(open(in_folder("elsewhere/outside"), O_WRONLY | O_CREAT, 0600)));
    MUST(pipe(back));
    for (int i = 0; i < 3; i++) MUST(pipe(pipes[i]));
    pid_t pids[3] = {child(in_it, NULL), child(deeper, NULL), child(outside, elsewhere)};
    char three[3];
    read_all(back[0], three, 3);
    ready();
    for (int i = 0; i < 3; i++) {
        int status;
        write_all(pipes[i][1], "x", 1);
        MUST(waitpid(pids[i], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "process %d ended with %x", i, status);
    }
    CHECK(access("/etc/passwd", F_OK) == 0, "the root of all was changed");
    return passed();
}
