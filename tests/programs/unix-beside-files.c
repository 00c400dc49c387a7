/* A socket with a name where the user's own files are. */
#include "check.h"
#include <sys/stat.h>
#include <sys/un.h>

int main(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    /* A path of the working folder may be too long for a socket's name. */
    char link[64];
    snprintf(link, sizeof link, "/tmp/roam-test-beside-%d", getpid());
    MUST(symlink(in_folder(""), link));
    snprintf(name.sun_path, sizeof name.sun_path, "%s/socket", link);
    int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(bind(listener, (struct sockaddr *)&name, sizeof name));
    MUST(chmod(name.sun_path, 0710));
    MUST(listen(listener, 4));
    ready();
    struct stat stat;
    MUST(lstat(name.sun_path, &stat));
    CHECK(S_ISSOCK(stat.st_mode) && (stat.st_mode & 0777) == 0710, "it is a file of mode %o", stat.st_mode);
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&name, sizeof name));
    MUST(accept(listener, NULL, NULL));
    return passed();
}
