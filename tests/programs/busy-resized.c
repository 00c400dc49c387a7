/* Shared memory that becomes longer and shorter all the time, by pages and by parts of pages, is filled and emptied;
 * and memory whose descriptor is closed, filled and emptied. What it must hold is noted in private memory. */
#include "check.h"

enum { PAGES = 256, PAGE = 4096 };
static int fd;
static char *open_one, *closed_one;
static size_t size = PAGES * PAGE;
/* With what each byte of a page is filled, and up to where: after that it is zero. */
static struct page { unsigned char with; size_t length; } of_open[PAGES], of_closed[PAGES];
static volatile bool stop;
static volatile unsigned long rounds;

static uint64_t next(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static size_t room(size_t page) {
    size_t start = page * PAGE;
    return size <= start ? 0 : size - start < PAGE ? size - start : PAGE;
}

static void resize(size_t new) {
    MUST(ftruncate(fd, (off_t)new));
    size = new;
    for (size_t i = 0; i < PAGES; i++)
        if (of_open[i].length > room(i)) of_open[i].length = room(i);
}

static void fill_page(char *memory, struct page *pages, size_t i, size_t length) {
    pages[i] = (struct page){(unsigned char)(next() % 3), length};
    memset(memory + i * PAGE, pages[i].with, length);
}

static void *run(void *unused) {
    (void)unused;
    while (!stop) {
        size_t i = next() % PAGES;
        switch (next() % 16) {
        case 0: resize(next() % (PAGES * PAGE)); break;
        case 1: resize(next() % PAGES * PAGE); break;
        case 2:
        case 3: resize(PAGES * PAGE); break;
        case 4 ... 9: fill_page(open_one, of_open, i, room(i)); break;
        default: fill_page(closed_one, of_closed, i, PAGE);
        }
        rounds++;
    }
    return NULL;
}

static void check(const char *name, const char *memory, const struct page *pages, size_t i, size_t length) {
    for (size_t at = 0; at < length; at++) {
        unsigned char wanted = at < pages[i].length ? pages[i].with : 0, is = (unsigned char)memory[i * PAGE + at];
        CHECK(is == wanted, "%s: page %zu holds %d, not %d, at %zu", name, i, is, wanted, at);
    }
}

int main(void) {
    fd = MUST(memfd_create("resized", 0));
    int other = MUST(memfd_create("closed", 0));
    MUST(ftruncate(fd, PAGES * PAGE));
    MUST(ftruncate(other, PAGES * PAGE));
    open_one = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    closed_one = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
    CHECK(open_one != MAP_FAILED && closed_one != MAP_FAILED, "no memory");
    close(other);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    while (rounds < 10000) sched_yield();
    ready();
    stop = true;
    pthread_join(thread, NULL);
    struct stat stat;
    MUST(fstat(fd, &stat));
    CHECK((size_t)stat.st_size == size, "it is %zu bytes long, not %zu", (size_t)stat.st_size, size);
    for (size_t i = 0; i < PAGES; i++) {
        check("open", open_one, of_open, i, room(i));
        check("closed", closed_one, of_closed, i, PAGE);
    }
    return passed();
}
