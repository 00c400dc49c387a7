/* A local descriptor table (modify_ldt) and threads that use it, one of them in 32-bit code of a 64-bit program, as
 * Wine runs Windows programs: entries of every shape stay, and selectors that are loaded stay usable. */
#include "proc.h"
#include <asm/ldt.h>
#include <stdatomic.h>
#include <stddef.h>

enum { DATA = 3, MISSING = 40, LAST = 8191 };
#define SELECTOR(entry) ((entry) << 3 | 7)

/* What the threads share, below 4 GiB: the segment DATA begins here. */
struct low {
    _Atomic uint32_t counter, stop;
    uint64_t stack;
    uint32_t mark;
    uint8_t code[128];
};
static struct low *low;

static int table(int function, void *data, size_t size) { return (int)syscall(SYS_modify_ldt, function, data, size); }

static void set(unsigned entry, unsigned base, unsigned limit, bool present) {
    struct user_desc one = {.entry_number = entry, .base_addr = base, .limit = limit, .seg_32bit = 1, .contents = 0,
                            .useable = 1, .limit_in_pages = entry == LAST, .seg_not_present = !present};
    MUST(table(0x11, &one, sizeof one));
}

static uint32_t from_segment(void) {
    uint32_t value;
    __asm__ volatile("movl %%gs:%c1, %0" : "=r"(value) : "i"(offsetof(struct low, mark)));
    return value;
}

/* 64-bit code that goes on in 32-bit code, which counts until it is told to stop, and comes back. */
static void write_code(void) {
    uint8_t *at = low->code;
    uint32_t here = (uint32_t)(uintptr_t)low, stack = here + offsetof(struct low, stack);
    uint32_t counter = offsetof(struct low, counter), stop = offsetof(struct low, stop);
#define BYTES(...) do { uint8_t b[] = {__VA_ARGS__}; memcpy(at, b, sizeof b); at += sizeof b; } while (0)
#define WORD(value) do { uint32_t w = (value); memcpy(at, &w, 4); at += 4; } while (0)
    BYTES(0x48, 0x89, 0x24, 0x25); WORD(stack);                 /* mov %rsp, stack */
    BYTES(0xb8); WORD(SELECTOR(DATA)); BYTES(0x8e, 0xd8);       /* mov $DATA, %eax; mov %eax, %ds */
    BYTES(0x6a, 0x23, 0x68);                                    /* push $USER32_CS; push $loop */
    uint8_t *loop = at + 4 + 2;
    WORD((uint32_t)(uintptr_t)loop);
    BYTES(0x48, 0xcb);                                          /* lretq */
    BYTES(0xff, 0x05); WORD(counter);                           /* loop: incl %ds:counter */
    BYTES(0x83, 0x3d); WORD(stop); BYTES(0x00);                 /* cmpl $0, %ds:stop */
    BYTES(0x74, 0xf1);                                          /* je loop */
    uint8_t *back = at + 7;
    BYTES(0xea); WORD((uint32_t)(uintptr_t)back); BYTES(0x33, 0x00); /* ljmp $USER_CS, $back */
    BYTES(0x48, 0x8b, 0x24, 0x25); WORD(stack);                 /* back: mov stack, %rsp */
    BYTES(0xc3);                                                /* ret */
}

static void *in_32_bits(void *unused) {
    ((void (*)(void))(void *)low->code)();
    return unused;
}

static void *with_segment(void *told) {
    _Atomic int *go = told;
    __asm__ volatile("mov %0, %%gs" ::"r"((uint32_t)SELECTOR(DATA)));
    atomic_fetch_add(go, 1);
    while (atomic_load(go) == 1) sched_yield();
    CHECK(from_segment() == 0xbeef, "the segment of a thread that had loaded it shows %x", from_segment());
    return NULL;
}

int main(void) {
    low = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED, "no memory below 4 GiB");
    low->mark = 0xbeef;
    write_code();
    set(DATA, (unsigned)(uintptr_t)low, 4095, true);
    set(MISSING, 0x1234, 0x56789, false);
    set(LAST, 0, 0xfffff, true);
    static uint8_t before[65536], after[65536];
    int size = MUST(table(0, before, sizeof before));
    _Atomic int go = 0;
    pthread_t segment, code;
    CHECK(pthread_create(&segment, NULL, with_segment, (void *)&go) == 0, "no thread");
    CHECK(pthread_create(&code, NULL, in_32_bits, NULL) == 0, "no thread");
    while (atomic_load(&go) == 0 || atomic_load(&low->counter) == 0) sched_yield();
    ready();
    CHECK(table(0, after, sizeof after) == size, "the table has another size");
    for (int at = 0; at < size; at += 8)
        CHECK(memcmp(before + at, after + at, 8) == 0, "entry %d is another", at / 8);
    uint32_t counted = atomic_load(&low->counter);
    while ((uint32_t)atomic_load(&low->counter) == counted) sched_yield();
    atomic_store(&low->stop, 1);
    atomic_store(&go, 2);
    CHECK(pthread_join(code, NULL) == 0 && pthread_join(segment, NULL) == 0, "a thread can't be joined");
    __asm__ volatile("mov %0, %%gs" ::"r"((uint32_t)SELECTOR(DATA)));
    CHECK(from_segment() == 0xbeef, "the segment shows %x", from_segment());
    /* A child has the table, too, and may change its own. */
    pid_t pid = MUST(fork());
    if (pid == 0) {
        CHECK(from_segment() == 0xbeef, "a child's segment shows %x", from_segment());
        _exit(0);
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "a child ended with %x", status);
    return passed();
}
