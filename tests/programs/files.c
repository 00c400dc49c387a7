/* Open files: offset, flags, two that share an offset and two that do not, append, directories. */
#include "check.h"
#include <dirent.h>

int main(void) {
    char *path = in_folder("data"), text[16];
    int fd = MUST(open(path, O_RDWR | O_CREAT, 0640));
    write_all(fd, "0123456789", 10);
    MUST(lseek(fd, 4, SEEK_SET));
    int same = MUST(dup2(fd, 200)), other = MUST(open(path, O_RDONLY | O_CLOEXEC | O_NOATIME));
    int append = MUST(open(path, O_WRONLY | O_APPEND)), folder = MUST(open(in_folder("."), O_RDONLY | O_DIRECTORY));
    int only = MUST(open(path, O_PATH));
    MUST(lseek(other, 7, SEEK_SET));
    ready();
    CHECK(same == 200 && lseek(fd, 0, SEEK_CUR) == 4 && lseek(200, 0, SEEK_CUR) == 4, "an offset changed");
    CHECK(lseek(other, 0, SEEK_CUR) == 7, "the second offset changed");
    read_all(200, text, 2);
    CHECK(memcmp(text, "45", 2) == 0 && lseek(fd, 0, SEEK_CUR) == 6, "the copies no longer share an offset");
    CHECK(lseek(other, 0, SEEK_CUR) == 7, "the other open shares an offset now");
    CHECK((fcntl(other, F_GETFL) & (O_ACCMODE | O_NOATIME)) == (O_RDONLY | O_NOATIME), "flags: %x", fcntl(other, F_GETFL));
    CHECK(fcntl(other, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0, "close-on-exec");
    CHECK(write(other, "x", 1) < 0, "a read-only file takes bytes");
    write_all(append, "end", 3);
    CHECK(pread(fd, text, 13, 0) == 13 && memcmp(text, "0123456789end", 13) == 0, "append went elsewhere");
    CHECK(fcntl(only, F_GETFL) & O_PATH, "O_PATH is lost");
    struct stat one, two;
    MUST(fstat(fd, &one));
    MUST(fstatat(folder, "data", &two, 0));
    CHECK(one.st_ino == two.st_ino && one.st_dev == two.st_dev, "the file has another name");
    CHECK(fdopendir(folder) != NULL, "the folder is no folder");
    return passed();
}
