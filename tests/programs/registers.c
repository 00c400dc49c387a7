/* What a running thread has in its registers: integers, x87, SSE and AVX, rounding mode. */
#include "check.h"
#include <fenv.h>
#include <stdatomic.h>

static atomic_bool stop;
static _Atomic(uint64_t) rounds;

static void *integers(void *unused) {
    (void)unused;
    uint64_t a = 1, b = 2, c = 3, d = 4, sum = 0;
    while (!stop) {
        a = a * 3 + 1, b = b * 5 + 1, c = c * 7 + 1, d = d * 9 + 1, sum++;
    }
    uint64_t w = 1, x = 2, y = 3, z = 4;
    for (uint64_t i = 0; i < sum; i++) w = w * 3 + 1, x = x * 5 + 1, y = y * 7 + 1, z = z * 9 + 1;
    CHECK(a == w && b == x && c == y && d == z, "integer registers changed");
    return NULL;
}

static void *vectors(void *unused) {
    (void)unused;
    uint64_t in[16], out[16];
    fill(in, sizeof in, 17);
    bool avx = __builtin_cpu_supports("avx");
    while (!stop) {
        /* The values stay in the registers for a while, and only there. */
        if (avx) {
            __asm__ volatile(
                "vmovdqu (%0), %%ymm4\n vmovdqu 32(%0), %%ymm5\n vmovdqu 64(%0), %%ymm14\n vmovdqu 96(%0), %%ymm15\n"
                "mov $4000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"
                "vmovdqu %%ymm4, (%1)\n vmovdqu %%ymm5, 32(%1)\n vmovdqu %%ymm14, 64(%1)\n vmovdqu %%ymm15, 96(%1)\n"
                : : "r"(in), "r"(out) : "ecx", "memory", "xmm4", "xmm5", "xmm14", "xmm15");
            CHECK(memcmp(in, out, sizeof in) == 0, "AVX registers changed");
        } else {
            __asm__ volatile(
                "movdqu (%0), %%xmm4\n movdqu 16(%0), %%xmm15\n"
                "mov $4000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n"
                "movdqu %%xmm4, (%1)\n movdqu %%xmm15, 16(%1)\n"
                : : "r"(in), "r"(out) : "ecx", "memory", "xmm4", "xmm15");
            CHECK(memcmp(in, out, 32) == 0, "SSE registers changed");
        }
        long double pi = 0;
        __asm__ volatile("fldpi\n mov $2000000, %%ecx\n 1: dec %%ecx\n jnz 1b\n" : "=t"(pi) : : "ecx");
        CHECK(pi > 3.14159265358979323L && pi < 3.14159265358979325L, "x87 registers changed");
        rounds++;
    }
    return NULL;
}

int main(void) {
    pthread_t one, two;
    fesetround(FE_UPWARD);
    pthread_create(&one, NULL, integers, NULL);
    pthread_create(&two, NULL, vectors, NULL);
    while (rounds < 2) sched_yield();
    ready();
    CHECK(fegetround() == FE_UPWARD, "the rounding mode changed");
    volatile double three = 3, third = 1 / three;
    fesetround(FE_DOWNWARD);
    CHECK(third > 1 / three, "rounding is not what the mode says");
    uint64_t seen = rounds;
    while (rounds < seen + 2) sched_yield();
    stop = true;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    return passed();
}
