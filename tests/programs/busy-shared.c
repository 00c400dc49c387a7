/* Shared memory and a file mapping that two processes write all the time through different mappings. */
#include "check.h"

enum { PAGES = 512 };
struct page { volatile uint64_t one, two; char rest[4080]; };
static struct page *pages, *alias;
static volatile uint64_t *stop;

static int other(void *unused) {
    (void)unused;
    for (uint64_t i = 0; !*stop; i++) alias[i % PAGES].two = i + 1;
    return 0;
}

static void *run(void *unused) {
    (void)unused;
    for (uint64_t i = 0; !*stop; i++) pages[i % PAGES].one = i + 1;
    return NULL;
}

static void check_side(bool second) {
    uint64_t last = 0;
    size_t at = 0;
    for (size_t i = 0; i < PAGES; i++) {
        uint64_t value = second ? pages[i].two : pages[i].one;
        if (value > last) last = value, at = i;
    }
    /* Going back from the newest, every page holds the number before. */
    for (size_t back = 0; back < PAGES && back < last; back++) {
        size_t i = (at + PAGES - back) % PAGES;
        uint64_t value = second ? pages[i].two : pages[i].one;
        CHECK(value == last - back, "page %zu holds %llu, not %llu", i, (unsigned long long)value, (unsigned long long)(last - back));
    }
}

int main(void) {
    int fd = MUST(memfd_create("busy", 0));
    MUST(ftruncate(fd, PAGES * 4096));
    pages = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    alias = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = child(other, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (pages[PAGES - 1].one == 0 || pages[PAGES - 1].two == 0) sched_yield();
    ready();
    uint64_t one = pages[0].one, two = pages[0].two;
    while (pages[0].one == one || pages[0].two == two) sched_yield();
    *stop = 1;
    pthread_join(thread, NULL);
    int status;
    MUST(waitpid(pid, &status, 0));
    check_side(false);
    check_side(true);
    return passed();
}
