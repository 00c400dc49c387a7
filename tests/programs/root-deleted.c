/* Processes from which all files were taken: their root is a deleted folder, or, as Chromium's processes have it, a
 * folder below /proc of a process that has ended. Another that inherits it, and one whose working directory is
 * still outside. */
#include "namespaces.h"
#include <dirent.h>

static int go[4][2], back[2];

/* Tells that it is there, waits until it is to look, and finds nothing. */
static void stand(int number) {
    char byte;
    write_all(back[1], "x", 1);
    read_all(go[number][0], &byte, 1);
    struct stat root, above;
    MUST(stat("/", &root));
    CHECK(S_ISDIR(root.st_mode), "its root is no folder");
    /* Below /proc there is not even a way up. */
    CHECK(stat("/..", &above) < 0 || root.st_ino == above.st_ino, "there is something above its root");
    CHECK(access("/etc", F_OK) < 0 && access("/proc", F_OK) < 0, "it sees the files of the pod");
    CHECK(open("/new", O_WRONLY | O_CREAT, 0600) < 0, "it can make a file");
    CHECK(mkdir("/new", 0700) < 0, "it can make a folder");
    DIR *folder = opendir("/");
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        CHECK(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0, "it finds %s", entry->d_name);
}

static int in_deleted(void *folder) {
    new_user(0, getuid(), getgid());
    MUST(mkdir(folder, 0700));
    int above = MUST(open(in_folder(""), O_PATH | O_DIRECTORY));
    MUST(chroot(folder));
    MUST(chdir("/"));
    MUST(unlinkat(above, "deleted", AT_REMOVEDIR));
    close(above);
    stand(0);
    CHECK(access("etc", F_OK) < 0 && access("../etc", F_OK) < 0, "it stands in the pod");
    return 5;
}

static int chroot_to_own(void *unused) {
    (void)unused;
    return chroot("/proc/self/fdinfo") == 0 && chdir("/") == 0 ? 0 : 1;
}

static int in_ended(void *unused) {
    (void)unused;
    static char stack[65536] __attribute__((aligned(16)));
    new_user(0, getuid(), getgid());
    pid_t helper = MUST(clone(chroot_to_own, stack + sizeof stack, CLONE_FS | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
    int status;
    MUST(waitpid(helper, &status, 0));
    CHECK(status == 0, "the helper ended with %x", status);
    pid_t heir = MUST(fork());
    stand(heir == 0 ? 1 : 2);
    CHECK(access("etc", F_OK) < 0 && access("../etc", F_OK) < 0, "it stands in the pod");
    if (heir != 0) {
        MUST(waitpid(heir, &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "the heir ended with %x", status);
    }
    return 5;
}

static int standing_outside(void *folder) {
    new_user(0, getuid(), getgid());
    MUST(chdir(in_folder("")));
    MUST(mkdir(folder, 0700));
    MUST(chroot(folder));
    MUST(rmdir("other"));
    stand(3);
    CHECK(access("ready", F_OK) == 0, "its working directory is another");
    return 5;
}

int main(void) {
    MUST(pipe(back));
    for (int i = 0; i < 4; i++) MUST(pipe(go[i]));
    pid_t pids[3] = {child(in_deleted, in_folder("deleted")), child(in_ended, NULL),
                     child(standing_outside, in_folder("other"))};
    char four[4];
    read_all(back[0], four, 4);
    ready();
    for (int i = 0; i < 4; i++) write_all(go[i][1], "x", 1);
    for (int i = 0; i < 3; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5, "process %d ended with %x", i, status);
    }
    CHECK(access("/etc/passwd", F_OK) == 0, "the root of all was changed");
    return passed();
}
