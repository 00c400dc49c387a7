/* /proc/self/maps is what it was, line by line: places, rights, offsets and names, libraries' and one's own. The
 * kernel's own areas may be elsewhere; where the vdso was, something may stand in for it. */
#include "check.h"

static unsigned long vdso;

static char *own_lines(void) {
    FILE *file = fopen("/proc/self/maps", "re");
    CHECK(file, "no maps");
    static char room[2][65536];
    static int which;
    char *text = room[which++ & 1], line[4096];
    text[0] = 0;
    while (fgets(line, sizeof line, file)) {
        char name[1024] = "", rights[8], address[64], offset[32];
        sscanf(line, "%63s %7s %31s %*s %*s %1023s", address, rights, offset, name);
        if (strcmp(name, "[vdso]") == 0 && !vdso) vdso = strtoul(address, NULL, 16);
        if (strstr(name, "[v") || strtoul(address, NULL, 16) == vdso) continue;
        /* Device and inode may be others. */
        CHECK(strlen(text) + strlen(line) < sizeof room[0], "too many lines");
        sprintf(text + strlen(text), "%s %s %s %s\n", address, rights, offset, name);
    }
    fclose(file);
    return text;
}

int main(void) {
    char *holes = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 64; i += 5) MUST(munmap(holes + i * 4096, 4096));
    MUST(mprotect(holes + 2 * 4096, 4096, PROT_READ | PROT_EXEC));
    int fd = MUST(open(in_folder("data"), O_RDWR | O_CREAT, 0600));
    MUST(ftruncate(fd, 16 * 4096));
    CHECK(mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 4096) != MAP_FAILED, "no mapping");
    free(malloc(100000));
    own_lines();
    char *before = own_lines();
    ready();
    char *after = own_lines();
    for (char *a = before, *b = after; *a || *b;) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        CHECK(n == m && memcmp(a, b, n) == 0, "was %.*s and is %.*s", (int)n, a, (int)m, b);
        a += n + (a[n] != 0);
        b += m + (b[m] != 0);
    }
    return passed();
}
