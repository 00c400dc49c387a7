/* A filter that one thread installed for itself: the others have none, and it can't be read back either. */
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>

static pthread_barrier_t before, after;

static void *run(void *unused) {
    (void)unused;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 99),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(syscall(SYS_getppid) < 0 && errno == 99, "the thread's filter is gone");
    return NULL;
}

int main(void) {
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_barrier_wait(&before);
    expect_refusal("seccomp filter of its own");
    ready();
    CHECK(syscall(SYS_getppid) >= 0, "the filter is everybody's");
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    return passed();
}
