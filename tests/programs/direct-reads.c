/* Threads that read past the cache all the time, where the file system can do that: what was read is what is in the
 * file, also of reads that a device was at work on when the page was looked at. */
#include "check.h"

enum { THREADS = 2, BLOCKS = 8, BLOCK = 4 << 20 };
static unsigned char *memory;
static int file;
static volatile bool stop;
static long done[THREADS];

static void *work(void *number) {
    unsigned me = (unsigned)(uintptr_t)number;
    for (unsigned i = 0; !stop || i % BLOCKS != 0; i++) {
        unsigned block = i % BLOCKS;
        unsigned char *buffer = memory + ((size_t)me * BLOCKS + block) * BLOCK;
        /* What is there before is not what will be. */
        memset(buffer, 0xee, BLOCK);
        ssize_t got;
        while ((got = pread(file, buffer, BLOCK, (off_t)block * BLOCK)) < 0 && errno == EINTR) continue;
        CHECK(got == BLOCK, "%zd bytes were read", got);
        CHECK(is_filled(buffer, BLOCK, block), "block %u is not what was read, after %ld", block, done[me]);
        done[me]++;
        /* The one before has been at the target, perhaps. */
        unsigned before = (block + BLOCKS - 1) % BLOCKS;
        CHECK(done[me] < 2 || is_filled(memory + ((size_t)me * BLOCKS + before) * BLOCK, BLOCK, before),
              "block %u is not what was read before, after %ld", before, done[me]);
    }
    return NULL;
}

int main(void) {
    char *path = in_folder("file");
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    if (file < 0) file = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    size_t size = (size_t)THREADS * BLOCKS * BLOCK;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(memory, BLOCK, i);
        CHECK(pwrite(file, memory, BLOCK, (off_t)i * BLOCK) == BLOCK, "the test itself");
    }
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    ready();
    stop = true;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS * BLOCKS; i++)
        CHECK(is_filled(memory + (size_t)i * BLOCK, BLOCK, i % BLOCKS), "block %u is not what was read", i);
    return passed();
}
