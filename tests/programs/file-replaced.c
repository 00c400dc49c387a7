/* A file replaced under its name while open (as editors save), files renamed, and folders above them renamed. */
#include "check.h"

int main(void) {
    const char *folders[] = {in_folder("work"), "/tmp/roam-test-work"};
    int old[2], moved[2], new[2], deep[2];
    char path[4096], to[4096];
    for (int i = 0; i < 2; i++) {
        MUST(mkdir(folders[i], 0700));
#define AT(name) (snprintf(path, sizeof path, "%s/%s", folders[i], name), path)
        old[i] = MUST(open(AT("file"), O_RDWR | O_CREAT, 0600));
        write_all(old[i], "old", 3);
        new[i] = MUST(open(AT("file.new"), O_RDWR | O_CREAT, 0600));
        write_all(new[i], "new!", 4);
        snprintf(to, sizeof to, "%s/file", folders[i]);
        MUST(rename(AT("file.new"), to));
        moved[i] = MUST(open(AT("before"), O_RDWR | O_CREAT, 0600));
        snprintf(to, sizeof to, "%s/after", folders[i]);
        MUST(rename(AT("before"), to));
        MUST(mkdir(AT("folder"), 0700));
        deep[i] = MUST(open(AT("folder/deep"), O_RDWR | O_CREAT, 0600));
        snprintf(to, sizeof to, "%s/renamed folder", folders[i]);
        MUST(rename(AT("folder"), to));
    }
    ready();
    for (int i = 0; i < 2; i++) {
        char text[16];
        CHECK(pread(old[i], text, 16, 0) == 3 && memcmp(text, "old", 3) == 0, "the old one is not the old one");
        write_all(old[i], "er", 2);
        int named = MUST(open(AT("file"), O_RDONLY));
        CHECK(read(named, text, 16) == 4 && memcmp(text, "new!", 4) == 0, "the name leads to another file");
        struct stat one, two;
        MUST(fstat(named, &one));
        MUST(fstat(new[i], &two));
        CHECK(one.st_ino == two.st_ino, "the new one is another file");
        write_all(moved[i], "1", 1);
        CHECK(stat(AT("after"), &one) == 0 && one.st_size == 1, "the renamed one is another file");
        CHECK(access(AT("before"), F_OK) < 0, "the old name is back");
        write_all(deep[i], "22", 2);
        CHECK(stat(AT("renamed folder/deep"), &one) == 0 && one.st_size == 2, "the file in the renamed folder is another");
        CHECK(access(AT("folder"), F_OK) < 0, "the folder's old name is back");
    }
    return passed();
}
