/* What steers the floating-point units, in each thread: rounding, precision, exceptions that are let through or
 * noted, flushing of tiny numbers; and the x87 stack half full. */
#include "check.h"
#include <fenv.h>
#include <xmmintrin.h>

static pthread_barrier_t before, after;

static uint16_t control_word(void) {
    uint16_t word;
    __asm__ volatile("fnstcw %0" : "=m"(word));
    return word;
}

static void *run(void *number) {
    unsigned i = (unsigned)(uintptr_t)number;
    uint32_t mxcsr = 0x1f80 | i << 13 | (i & 1 ? 0x8040 : 0) | i;
    uint16_t word = (uint16_t)(0x7f | (i & 1 ? 0x300 : 0) | i << 10), status;
    __asm__ volatile("fninit\n fldcw %0" : : "m"(word));
    __asm__ volatile("fld1\n fldpi\n fldl2e");
    _mm_setcsr(mxcsr);
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(_mm_getcsr() == mxcsr, "thread %u: MXCSR is %x, was %x", i, _mm_getcsr(), mxcsr);
    CHECK(control_word() == word, "thread %u: the control word is %x, was %x", i, control_word(), word);
    __asm__ volatile("fnstsw %0" : "=m"(status));
    CHECK((status >> 11 & 7) == 5, "thread %u: the stack's top is %u", i, status >> 11 & 7);
    double a, b, c;
    __asm__ volatile("fstpl %0\n fstpl %1\n fstpl %2" : "=m"(a), "=m"(b), "=m"(c));
    CHECK(a > 1.4426 && a < 1.4428 && b > 3.1415 && b < 3.1417 && c == 1, "thread %u: the stack holds %f %f %f", i, a, b, c);
    __asm__ volatile("fninit");
    _mm_setcsr(0x1f80);
    return NULL;
}

int main(void) {
    pthread_t threads[4];
    pthread_barrier_init(&before, NULL, 5);
    pthread_barrier_init(&after, NULL, 5);
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    pthread_barrier_wait(&before);
    feraiseexcept(FE_INEXACT | FE_UNDERFLOW);
    ready();
    CHECK(fetestexcept(FE_ALL_EXCEPT) == (FE_INEXACT | FE_UNDERFLOW), "noted exceptions are %x", fetestexcept(FE_ALL_EXCEPT));
    pthread_barrier_wait(&after);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return passed();
}
