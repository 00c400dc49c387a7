/* A gigabyte of shared memory of which little is used, as toolkits make it: it comes with its content, written also by
 * those who are gone, and neither leaving nor arriving gives memory to the gaps. */
#include "check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

enum { PAGE = 4096 };
#define SIZE (1ul << 30)

/* How many pages of it there are, whoever has them. */
static size_t pages_of(void *memory) {
    unsigned char *there = malloc(SIZE / PAGE);
    MUST(mincore(memory, SIZE, there));
    size_t pages = 0;
    for (size_t i = 0; i < SIZE / PAGE; i++) pages += there[i] & 1;
    free(there);
    return pages;
}

static void write_some(char *memory, size_t first, char byte) {
    for (size_t i = 0; i < 300; i++) memset(memory + (first + i * 700) * PAGE, byte, 100);
}

static void look(const char *what, char *memory) {
    for (size_t i = 0; i < 300; i++) {
        CHECK(memory[(5 + i * 700) * PAGE + 99] == 'p', "%s: page %zu of the parent's", what, i);
        CHECK(memory[(6 + i * 700) * PAGE + 99] == 'c', "%s: page %zu of the child's", what, i);
    }
}

int main(void) {
    char *anonymous = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | SHM_NORESERVE | 0600);
    char *segment = shmat(id, NULL, 0);
    CHECK(anonymous != MAP_FAILED && id >= 0 && segment != (void *)-1, "%s", strerror(errno));
    MUST(shmctl(id, IPC_RMID, NULL));
    write_some(anonymous, 5, 'p');
    write_some(segment, 5, 'p');
    pid_t child = fork();
    MUST(child);
    if (child == 0) {
        write_some(anonymous, 6, 'c');
        write_some(segment, 6, 'c');
        _exit(0);
    }
    CHECK(waitpid(child, NULL, 0) == child, "%s", strerror(errno));
    size_t of_anonymous = pages_of(anonymous), of_segment = pages_of(segment);
    CHECK(of_anonymous >= 600 && of_anonymous < 20000, "the test itself: %zu pages", of_anonymous);
    ready();
    size_t now = pages_of(anonymous);
    CHECK(now <= of_anonymous, "%zu pages, were %zu", now, of_anonymous);
    now = pages_of(segment);
    CHECK(now <= of_segment, "%zu pages of the segment, were %zu", now, of_segment);
    look("anonymous", anonymous);
    look("the segment", segment);
    return passed();
}
