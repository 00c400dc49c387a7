/* Restartable sequences: the kernel goes on keeping the CPU's number in each thread's area. */
#include "check.h"
#include <sys/rseq.h>

static pthread_barrier_t before, after;

static struct rseq *area(void) { return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset); }

static void check_area(void) {
    if (__rseq_size == 0) return;
    for (int i = 0; i < 1000; i++) {
        unsigned cpu, node;
        volatile struct rseq *rseq = area();
        uint32_t one = rseq->cpu_id;
        MUST(syscall(SYS_getcpu, &cpu, &node, NULL));
        uint32_t two = rseq->cpu_id;
        CHECK(one < 4096 && two < 4096, "not registered any more: %x", one);
        CHECK(one != two || one == cpu, "the area says CPU %u, the kernel %u", one, cpu);
        sched_yield();
    }
    /* Registering what is registered already is refused. */
    CHECK(syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG) < 0, "a second registration was taken");
}

static void *run(void *unused) {
    (void)unused;
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    check_area();
    return NULL;
}

int main(void) {
    pthread_t thread;
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    check_area();
    ready();
    check_area();
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
