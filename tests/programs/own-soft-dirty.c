/* A program that uses the kernel's soft-dirty bits itself, as garbage collectors do: a page that it has written
 * since it cleared them must never look as if it had not. A page too many is no harm. */
#include "check.h"
#include <stdatomic.h>

enum { PAGE = 4096, PAGES = 1024 };
static char *memory;
static int pagemap;
static bool works;
static atomic_bool stop;
static _Atomic(uint64_t) rounds;

static void clear(void) {
    int fd = MUST(open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
    write_all(fd, "4", 1);
    close(fd);
}

static bool is_dirty(size_t page) {
    uint64_t entry;
    off_t at = (off_t)((uintptr_t)memory / PAGE + page) * 8;
    CHECK(pread(pagemap, &entry, sizeof entry, at) == sizeof entry, "no page map");
    return entry >> 55 & 1;
}

static void *run(void *unused) {
    (void)unused;
    uint64_t random = 88172645463325252u;
    while (!stop) {
        if (works) clear();
        bool written[PAGES] = {false};
        for (int i = 0; i < 100; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            size_t page = random % PAGES;
            memory[page * PAGE] = (char)random;
            written[page] = true;
        }
        for (size_t page = 0; page < PAGES; page++)
            CHECK(!works || !written[page] || is_dirty(page), "page %zu was written and does not look so", page);
        rounds++;
    }
    return NULL;
}

int main(void) {
    memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    pagemap = MUST(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    memset(memory, 1, PAGES * PAGE);
    /* Where the kernel lacks them no bit is ever set. */
    works = is_dirty(0);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (rounds < 10) sched_yield();
    ready();
    uint64_t seen = rounds;
    while (rounds < seen + 10) sched_yield();
    stop = true;
    pthread_join(thread, NULL);
    return passed();
}
