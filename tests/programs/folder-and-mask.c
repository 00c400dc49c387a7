/* The working directory, a folder open by path only, and the file mode creation mask. */
#include "check.h"

int main(void) {
    char *path = in_folder("inner"), *where;
    MUST(mkdir(path, 0700));
    MUST(chdir(path));
    umask(0137);
    int fd = MUST(open(".", O_PATH | O_DIRECTORY));
    ready();
    where = getcwd(NULL, 0);
    CHECK(where && strstr(where, "/inner"), "the folder is %s", where);
    int made = MUST(open("made", O_CREAT | O_WRONLY, 0666));
    struct stat stat;
    MUST(fstat(made, &stat));
    CHECK((stat.st_mode & 0777) == 0640, "the mask gave %o", stat.st_mode & 0777);
    MUST(fstatat(fd, "made", &stat, 0));
    CHECK(umask(0) == 0137, "the mask changed");
    return passed();
}
