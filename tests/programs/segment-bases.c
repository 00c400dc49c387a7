/* Each thread's segment bases: FS holds its own variables, GS whatever the program put there. */
#include "check.h"
#include <asm/prctl.h>
#include <stdatomic.h>

static _Thread_local uint64_t own[512] __attribute__((aligned(64)));
static pthread_barrier_t before, after;

static void *run(void *number) {
    uint64_t i = (uint64_t)number, block[8], fs, gs, through;
    fill(own, sizeof own, i);
    fill(block, sizeof block, 100 + i);
    uint64_t *addresses[2] = {own, &own[511]};
    MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
    MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, block));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    uint64_t now;
    MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &now));
    CHECK(now == fs, "thread %lu has FS at %lx, had it at %lx", i, now, fs);
    CHECK(addresses[0] == own && addresses[1] == &own[511] && is_filled(own, sizeof own, i), "its variables changed");
    MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
    CHECK(gs == (uint64_t)block, "thread %lu has GS at %lx, had it at %p", i, gs, (void *)block);
    __asm__ volatile("mov %%gs:8, %0" : "=r"(through));
    CHECK(through == block[1], "what lies behind GS is another");
    return NULL;
}

int main(void) {
    pthread_t threads[4];
    pthread_barrier_init(&before, NULL, 5);
    pthread_barrier_init(&after, NULL, 5);
    for (uint64_t i = 0; i < 4; i++) pthread_create(&threads[i], NULL, run, (void *)i);
    pthread_barrier_wait(&before);
    own[3] = 33;
    ready();
    CHECK(own[3] == 33, "the main thread's variables changed");
    pthread_barrier_wait(&after);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return passed();
}
