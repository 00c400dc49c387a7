/* Memory whose contents change while it is being copied, in every way there is, and seldom by a plain write: read
 * again after it was dropped, moved with its page tables, mapped anew, written by the kernel or through a
 * protection, shared with a child that does the same. Every page must be its newest. */
#include "check.h"
#include <stdatomic.h>
#include <sys/uio.h>

enum { PAGE = 4096, TABLE = 2 << 20, PAGES = 64, STEP = TABLE / PAGES, LEVELS = 4, KINDS = 8, BLOCKS = LEVELS * KINDS };

/* What one page table maps, and beside it room for another, so that it can be moved as a whole. Only some of its pages
 * are used. */
struct block {
    char *at;
    /* What its pages are filled with; 0 is what they were before they were ever written. */
    uint64_t seeds[PAGES];
    bool of_file, huge;
    /* With which it changes places: only with its like can it be mistaken for another. With itself if protections of
     * its pages change, after which an older kernel does not always make one area of it again. */
    struct block *other;
    /* One change in so many is made. However long a round takes, some blocks have changed a little in it. */
    uint64_t calm;
};

struct shared {
    atomic_bool stop;
    _Atomic(uint64_t) changes[2];
};

static struct block blocks[BLOCKS];
static char *spare;
static struct shared *shared;
static uint64_t counter, randomness = 88172645463325252u;
static int file, memory, ends[2];

static uint64_t some(uint64_t below) {
    randomness ^= randomness << 13, randomness ^= randomness >> 7, randomness ^= randomness << 17;
    return (randomness >> 11) % below;
}

/* An address that begins a page table, with so many of them free. */
static char *tables(size_t count) {
    char *at = mmap(NULL, (count + 1) * TABLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED, "no room");
    return (char *)(((uintptr_t)at + TABLE - 1) / TABLE * TABLE);
}

static void map_anew(const struct block *block) {
    int flags = MAP_PRIVATE | MAP_FIXED | (block->of_file ? 0 : MAP_ANONYMOUS);
    char *at = mmap(block->at, TABLE, PROT_READ | PROT_WRITE, flags, block->of_file ? file : -1, 0);
    CHECK(at == block->at, "no room");
}

static char *address(const struct block *block, size_t page) { return block->at + page * STEP; }

/* What the page reads as when it was never written: the file has its own number, plus one, in every word. */
static bool is_as_new(const struct block *block, size_t page) {
    const uint64_t *word = (const uint64_t *)address(block, page);
    for (size_t i = 0; i < PAGE / 8; i++)
        if (word[i] != (block->of_file ? page + 1 : 0)) return false;
    return true;
}

static bool is_right(const struct block *block, size_t page) {
    if (block->seeds[page] == 0) return is_as_new(block, page);
    return is_filled(address(block, page), PAGE, block->seeds[page]);
}

static void write_through(int way, char *at, const char *bytes) {
    struct iovec from = {(void *)bytes, PAGE}, to = {at, PAGE};
    switch (way) {
    case 0: memcpy(at, bytes, PAGE); break;
    /* By the kernel. */
    case 1:
        write_all(ends[1], bytes, PAGE);
        read_all(ends[0], at, PAGE);
        break;
    case 2: CHECK(process_vm_writev(getpid(), &from, 1, &to, 1, 0) == PAGE, "process_vm_writev"); break;
    /* Though it may only be read, which leaves it so. */
    case 3:
        MUST(mprotect(at, PAGE, PROT_READ));
        CHECK(pwrite(memory, bytes, PAGE, (off_t)(uintptr_t)at) == PAGE, "/proc/self/mem");
        MUST(mprotect(at, PAGE, PROT_READ | PROT_WRITE));
        break;
    default:
        MUST(mprotect(at, PAGE, PROT_NONE));
        MUST(mprotect(at, PAGE, PROT_READ | PROT_WRITE));
        memcpy(at, bytes, PAGE);
    }
}

/* Two blocks change places, and none of their bytes is touched. */
static void swap(struct block *a, struct block *b) {
    CHECK(mremap(a->at, TABLE, TABLE, MREMAP_MAYMOVE | MREMAP_FIXED, spare) == spare, "mremap");
    CHECK(mremap(b->at, TABLE, TABLE, MREMAP_MAYMOVE | MREMAP_FIXED, a->at) == a->at, "mremap");
    CHECK(mremap(spare, TABLE, TABLE, MREMAP_MAYMOVE | MREMAP_FIXED, b->at) == b->at, "mremap");
    for (size_t page = 0; page < PAGES; page++) {
        uint64_t seed = a->seeds[page];
        a->seeds[page] = b->seeds[page];
        b->seeds[page] = seed;
    }
}

static void change(void) {
    char bytes[PAGE] __attribute__((aligned(8)));
    struct block *block = &blocks[some(BLOCKS)];
    while (some(block->calm) != 0) block = &blocks[some(BLOCKS)];
    size_t page = some(PAGES), first = page, last = page;
    uint64_t way = some(100);
    if (way < 70) {
        block->seeds[page] = ++counter;
        fill(bytes, PAGE, counter);
        write_through((int)some(block->other == block ? 5 : 3), address(block, page), bytes);
        return;
    }
    if (way < 72 && block->other != block) {
        swap(block, block->other);
        return;
    }
    if (way == 72) {
        map_anew(block);
        first = 0, last = PAGES - 1;
    } else {
        MUST(madvise(address(block, page), PAGE, MADV_DONTNEED));
    }
    for (size_t i = first; i <= last; i++) {
        block->seeds[i] = 0;
        /* Read, so that it is there again. */
        if (some(2)) CHECK(is_as_new(block, i), "page %zu is not as new", i);
    }
}

static void change_until_told(int who) {
    while (!shared->stop) {
        change();
        shared->changes[who]++;
    }
}

static void *run(void *unused) {
    (void)unused;
    change_until_told(0);
    return NULL;
}

static void check_all(const char *whose) {
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t page = 0; page < PAGES; page++)
            CHECK(is_right(&blocks[b], page), "%s page %zu of block %zu is an old one", whose, page, b);
}

/* It begins with its parent's pages. */
static int inherit(void *unused) {
    (void)unused;
    memory = MUST(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
    MUST(pipe2(ends, O_CLOEXEC));
    randomness ^= 0x5555555555u;
    change_until_told(1);
    check_all("the child's");
    return 0;
}

static void until_changed(uint64_t by) {
    uint64_t seen[2] = {shared->changes[0], shared->changes[1]};
    for (int who = 0; who < 2; who++)
        while (shared->changes[who] < seen[who] + by) sched_yield();
}

int main(void) {
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "no memory");
    file = MUST(open(in_folder("data"), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    MUST(ftruncate(file, TABLE));
    for (uint64_t page = 0; page < PAGES; page++) {
        uint64_t words[PAGE / 8];
        for (size_t i = 0; i < PAGE / 8; i++) words[i] = page + 1;
        CHECK(pwrite(file, words, PAGE, (off_t)(page * STEP)) == PAGE, "the file");
    }
    memory = MUST(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
    MUST(pipe2(ends, O_CLOEXEC));
    spare = tables(1);
    for (size_t b = 0; b < BLOCKS; b++) {
        struct block *block = &blocks[b];
        /* Of each kind two that change places, but of files and plain memory also one for itself. */
        size_t kind = b % KINDS;
        block->of_file = kind < 3;
        block->huge = kind >= 6;
        block->other = &blocks[kind == 0 || kind == 3 ? b : kind < 3 ? b / KINDS * KINDS + 3 - kind : kind < 6 ? b / KINDS * KINDS + 9 - kind : b ^ 1];
        block->calm = 1ul << b / KINDS * 5;
        /* Each with a gap, or they would be one area. */
        block->at = tables(1);
        map_anew(block);
        if (!block->of_file) madvise(block->at, TABLE, block->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        for (size_t page = 0; page < PAGES; page++) {
            if (some(4) == 0) continue;
            block->seeds[page] = ++counter;
            fill(address(block, page), PAGE, counter);
        }
    }
    pid_t pid = child(inherit, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    until_changed(500);
    ready();
    until_changed(100);
    shared->stop = true;
    pthread_join(thread, NULL);
    check_all("the");
    int status;
    while (waitpid(pid, &status, 0) < 0) CHECK(errno == EINTR, "the child is gone");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %x", status);
    return passed();
}
