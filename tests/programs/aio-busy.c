/* A program that always has requests of asynchronous I/O under way, past the cache where the file system can do that:
 * none is lost, none comes twice, and what was read is what is in the file. */
#include "check.h"
#include <linux/aio_abi.h>

enum { BLOCKS = 32, BLOCK = 64 << 10 };
static struct iocb requests[BLOCKS];
static bool under_way[BLOCKS];
static aio_context_t context;
static unsigned char *memory;
static int file;
static volatile bool stop;
static long done;

static unsigned char *buffer(unsigned i) { return memory + (size_t)i * BLOCK; }

static void submit(unsigned i) {
    bool reads = !(requests[i].aio_lio_opcode == IOCB_CMD_PREAD);
    requests[i] = (struct iocb){.aio_lio_opcode = reads ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE, .aio_data = i};
    requests[i].aio_fildes = (uint32_t)file;
    requests[i].aio_buf = (uintptr_t)buffer(i);
    requests[i].aio_nbytes = BLOCK;
    requests[i].aio_offset = (int64_t)i * BLOCK;
    /* What is there before a read is not what will be. */
    if (reads) memset(buffer(i), 0xee, BLOCK);
    struct iocb *list[] = {&requests[i]};
    long taken;
    while ((taken = syscall(SYS_io_submit, context, 1, list)) < 0 && errno == EINTR) {
    }
    CHECK(taken == 1, "request %u is not taken", i);
    under_way[i] = true;
}

static void take(void) {
    struct io_event event;
    struct timespec limit = {20, 0};
    long got;
    while ((got = syscall(SYS_io_getevents, context, 1, 1, &event, &limit)) < 0 && errno == EINTR) {
    }
    CHECK(got == 1, "a request never ends after %ld", done);
    unsigned i = (unsigned)event.data;
    CHECK(i < BLOCKS && under_way[i], "request %llu ends twice", (unsigned long long)event.data);
    CHECK(event.obj == (uintptr_t)&requests[i] && event.res == BLOCK, "request %u: %lld", i, (long long)event.res);
    CHECK(is_filled(buffer(i), BLOCK, i), "block %u is not what was %s, after %ld", i,
          requests[i].aio_lio_opcode == IOCB_CMD_PREAD ? "read" : "written", done);
    under_way[i] = false;
    done++;
}

static void *work(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < BLOCKS; i++) submit(i);
    for (unsigned next = 0; !stop; next = (next + 1) % BLOCKS) {
        take();
        for (unsigned i = 0; i < BLOCKS; i++)
            if (!under_way[i]) submit(i);
    }
    bool any = true;
    while (any) {
        any = false;
        for (unsigned i = 0; i < BLOCKS; i++) any |= under_way[i];
        if (any) take();
    }
    return NULL;
}

int main(void) {
    char *path = in_folder("file");
    MUST(syscall(SYS_io_setup, BLOCKS, &context));
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
    if (file < 0) file = MUST(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    memory = mmap(NULL, (size_t)BLOCKS * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory");
    for (unsigned i = 0; i < BLOCKS; i++) {
        fill(buffer(i), BLOCK, i);
        CHECK(pwrite(file, buffer(i), BLOCK, (off_t)i * BLOCK) == BLOCK, "the test itself");
        /* The first request of each is a write or a read in turn. */
        requests[i].aio_lio_opcode = i % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
    }
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    ready();
    stop = true;
    pthread_join(thread, NULL);
    CHECK(done >= BLOCKS, "only %ld requests ended", done);
    MUST(syscall(SYS_io_destroy, context));
    return passed();
}
