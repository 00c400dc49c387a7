/* Filters that forbid what a checkpoint needs to ask and to make, with every kind of answer, in a process with
 * threads, timers, handlers and signal stacks. */
#include "filter.h"

static pthread_barrier_t before, after;
static char *memory, *stack;
static volatile sig_atomic_t handled;

static void on_signal(int signal) { handled = signal; }

static void *run(void *unused) {
    (void)unused;
    stack_t alternate = {.ss_sp = stack, .ss_size = 1 << 16};
    MUST(sigaltstack(&alternate, NULL));
    struct sock_filter code[] = {
        LOAD_NUMBER,
        ON(SYS_sigaltstack, SECCOMP_RET_KILL_PROCESS),
        ON(SYS_rt_sigaction, SECCOMP_RET_KILL_PROCESS),
        ON(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS),
        ON(SYS_prlimit64, SECCOMP_RET_TRAP),
        RETURN(SECCOMP_RET_ALLOW),
    };
    MUST(install(code, COUNT(code), 0));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    /* A handler on the stack that nothing can read any more. */
    pthread_kill(pthread_self(), SIGUSR1);
    CHECK(handled == SIGUSR1, "the handler is gone");
    return NULL;
}

int main(void) {
    const long calls[] = {
        SYS_mmap, SYS_mprotect, SYS_munmap, SYS_brk, SYS_prctl, SYS_timer_gettime, SYS_timer_getoverrun,
        SYS_getitimer, SYS_set_tid_address, SYS_set_robust_list, SYS_rseq, SYS_capset, SYS_chdir, SYS_umask,
        SYS_sched_setscheduler, SYS_sched_setaffinity, SYS_setpriority, SYS_ioprio_set, SYS_setsid, SYS_setpgid,
        SYS_waitid, SYS_clone3, SYS_dup3, SYS_fcntl, SYS_close_range, SYS_mremap, SYS_madvise,
    };
    memory = MUST(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stack = MUST(mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    fill(memory, 1 << 20, 5);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    MUST(sigaction(SIGUSR1, &action, NULL));
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    struct sock_filter code[COUNT(calls) * 2 + 2] = {LOAD_NUMBER};
    size_t count = 1;
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct sock_filter one[] = {ON(calls[i], SECCOMP_RET_ERRNO | ENOTTY)};
        memcpy(code + count, one, sizeof one);
        count += COUNT(one);
    }
    code[count++] = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
    MUST(install(code, count, 0));
    for (size_t i = 0; i < COUNT(calls); i++) CHECK(is_forbidden(calls[i], ENOTTY), "call %ld, before", calls[i]);
    ready();
    for (size_t i = 0; i < COUNT(calls); i++) CHECK(is_forbidden(calls[i], ENOTTY), "call %ld", calls[i]);
    CHECK(is_filled(memory, 1 << 20, 5), "the memory changed");
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
