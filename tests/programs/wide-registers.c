/* AVX-512: all 32 wide registers and the masks, held by a thread that does nothing else; AVX where the CPU has no
 * more. */
#include "check.h"
#include <stdatomic.h>
#include <immintrin.h>

static atomic_bool stop;
static atomic_int rounds;
static const char *_Atomic wrong;

__attribute__((target("avx512f,avx512bw"))) static void wide(void) {
    uint64_t in[5][8], out[5][8], mask[2] = {0x5555aaaa3333cccc, 0x8000000000000001}, masks[2];
    fill(in, sizeof in, 31);
    __asm__ volatile(
        "vmovdqu64 (%0), %%zmm0\n vmovdqu64 64(%0), %%zmm9\n vmovdqu64 128(%0), %%zmm16\n vmovdqu64 192(%0), %%zmm25\n vmovdqu64 256(%0), %%zmm31\n"
        "kmovq (%2), %%k1\n kmovq 8(%2), %%k7\n mov $3000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"
        "vmovdqu64 %%zmm0, (%1)\n vmovdqu64 %%zmm9, 64(%1)\n vmovdqu64 %%zmm16, 128(%1)\n vmovdqu64 %%zmm25, 192(%1)\n vmovdqu64 %%zmm31, 256(%1)\n"
        "kmovq %%k1, (%3)\n kmovq %%k7, 8(%3)\n"
        : : "r"(in), "r"(out), "r"(mask), "r"(masks)
        : "ecx", "memory", "xmm0", "xmm9", "xmm16", "xmm25", "xmm31", "k1", "k7");
    if (memcmp(in, out, sizeof in) != 0) wrong = "wide registers changed";
    if (memcmp(mask, masks, sizeof mask) != 0) wrong = "masks changed";
}

__attribute__((target("avx"))) static void narrow(void) {
    uint64_t in[8], out[8];
    fill(in, sizeof in, 31);
    __asm__ volatile("vmovdqu (%0), %%ymm0\n vmovdqu 32(%0), %%ymm15\n mov $3000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"
                     "vmovdqu %%ymm0, (%1)\n vmovdqu %%ymm15, 32(%1)\n"
                     : : "r"(in), "r"(out) : "ecx", "memory", "xmm0", "xmm15");
    if (memcmp(in, out, sizeof in) != 0) wrong = "registers changed";
}

static void *spin(void *unused) {
    (void)unused;
    while (!stop) {
        if (__builtin_cpu_supports("avx512bw")) wide();
        else if (__builtin_cpu_supports("avx")) narrow();
        rounds++;
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, spin, NULL);
    while (rounds < 1) sched_yield();
    ready();
    int seen = rounds;
    while (rounds < seen + 2) sched_yield();
    stop = true;
    pthread_join(thread, NULL);
    CHECK(!wrong, "%s", wrong);
    return passed();
}
