/* AMX: tiles that a thread holds while it waits, and leave to use them that it got from the kernel, which a second
 * thread uses only afterwards. Where the processor has none there is nothing to be seen. */
#include "check.h"
#include <cpuid.h>

enum { ARCH_GET_XCOMP_SUPP = 0x1021, ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM, TILES = 18, ROWS = 16, WIDTH = 64 };

/* Palette 1, and the first two tiles of full size. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t width[16];
    uint8_t rows[16];
} __attribute__((packed, aligned(64))) config = {1, 0, {0}, {WIDTH, WIDTH}, {ROWS, ROWS}};

static char in[ROWS * WIDTH] __attribute__((aligned(64))), out[ROWS * WIDTH] __attribute__((aligned(64)));

__attribute__((target("amx-tile"))) static void load(void) {
    __asm__ volatile("ldtilecfg %0\n tileloadd (%1,%2,1), %%tmm1" : : "m"(config), "r"(in), "r"((long)WIDTH) : "memory");
}

__attribute__((target("amx-tile"))) static void store(void) {
    __asm__ volatile("tilestored %%tmm1, (%0,%1,1)" : : "r"(out), "r"((long)WIDTH) : "memory");
}

static void *later(void *unused) {
    (void)unused;
    memset(out, 0, sizeof out);
    load();
    store();
    CHECK(memcmp(in, out, sizeof in) == 0, "another thread's tile is not what it loaded");
    return NULL;
}

int main(void) {
    unsigned a, b, c, d = 0;
    uint64_t leave = 0;
    /* CPUID 7: EDX bit 24 is AMX-TILE. */
    bool any = __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 24 & 1;
    if (!any || syscall(SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &leave) < 0 || !(leave >> TILES & 1)) {
        ready();
        return passed();
    }
    MUST((int)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILES));
    fill(in, sizeof in, 18);
    load();
    ready();
    store();
    CHECK(memcmp(in, out, sizeof in) == 0, "the tile holds something else");
    MUST((int)syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &leave));
    CHECK(leave >> TILES & 1, "the leave to use tiles is lost: %lx", (unsigned long)leave);
    pthread_t thread;
    pthread_create(&thread, NULL, later, NULL);
    pthread_join(thread, NULL);
    return passed();
}
