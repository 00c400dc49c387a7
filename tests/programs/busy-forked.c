/* A parent that writes all the time, also back to what was there before, and forks children meanwhile: each child keeps
 * what it saw when it was forked, whatever its parent had when that was copied. */
#include "check.h"
#include <stdatomic.h>

enum { PAGES = 1024, WORDS = 512, CHILDREN = 6 };
static uint64_t *memory;
static atomic_bool stop;
static _Atomic(uint64_t) writes;
static _Atomic(uint64_t) forks;
static struct {
    pid_t pid;
    int go;
} children[CHILDREN];

static uint64_t sum(size_t page) {
    uint64_t all = 0;
    for (size_t i = 0; i < WORDS; i += 8) all = all * 31 + memory[page * WORDS + i];
    return all;
}

static void *toggle(void *unused) {
    (void)unused;
    uint64_t random = 88172645463325252u;
    while (!stop) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        /* Some pages are never written, some often. */
        size_t page = random % 2 ? random / 2 % (PAGES / 2) : random / 2 % 16;
        for (size_t i = 0; i < WORDS; i += 64) memory[page * WORDS + i] = ~(page + i);
        writes++;
        for (size_t i = 0; i < WORDS; i += 64) memory[page * WORDS + i] = page + i;
    }
    return NULL;
}

/* Its own end of both pipes is all that it uses. */
static int body(void *ends) {
    int *pair = ends;
    uint64_t seen[PAGES];
    char byte;
    for (size_t page = 0; page < PAGES; page++) seen[page] = sum(page);
    write_all(pair[1], "x", 1);
    read_all(pair[0], &byte, 1);
    for (size_t page = 0; page < PAGES; page++) CHECK(sum(page) == seen[page], "a child sees another page %zu", page);
    return 0;
}

static void start(int i) {
    int down[2], up[2];
    char byte;
    MUST(pipe2(down, O_CLOEXEC));
    MUST(pipe2(up, O_CLOEXEC));
    children[i].pid = child(body, (int[]){down[0], up[1]});
    children[i].go = down[1];
    read_all(up[0], &byte, 1);
    close(down[0]), close(up[0]), close(up[1]);
    forks++;
}

static void end(int i) {
    int status;
    write_all(children[i].go, "x", 1);
    close(children[i].go);
    CHECK(waitpid(children[i].pid, &status, 0) == children[i].pid && status == 0, "a child ended with %x", status);
}

/* The first two stay; the others come and go. */
static void *fork_on(void *unused) {
    (void)unused;
    for (int i = 2; i < CHILDREN; i++) start(i);
    for (int i = 2; !stop; i = i + 1 < CHILDREN ? i + 1 : 2) {
        end(i);
        start(i);
    }
    /* They would end with this thread. */
    for (int i = 2; i < CHILDREN; i++) end(i);
    return NULL;
}

int main(void) {
    memory = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    for (size_t i = 0; i < (size_t)PAGES * WORDS; i++) memory[i] = i / WORDS + i % WORDS;
    pthread_t writer, forker;
    start(0);
    start(1);
    pthread_create(&writer, NULL, toggle, NULL);
    pthread_create(&forker, NULL, fork_on, NULL);
    while (writes < 10000 || forks < 20) sched_yield();
    ready();
    uint64_t seen = writes, forked = forks;
    while (writes < seen + 1000 || forks < forked + 3) sched_yield();
    stop = true;
    pthread_join(writer, NULL);
    pthread_join(forker, NULL);
    for (int i = 0; i < 2; i++) end(i);
    for (size_t i = 0; i < (size_t)PAGES * WORDS; i++)
        CHECK(memory[i] == i / WORDS + i % WORDS, "word %zu is another", i);
    return passed();
}
