/* Filters of system calls, for the programs about them. */
#ifndef FILTER_H
#define FILTER_H

#include "proc.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define LOAD_NUMBER BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
/* This call, by number, is answered with that. */
#define ON(number, what) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), RETURN(what)

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Installs a filter for this thread, or for all (SECCOMP_FILTER_FLAG_TSYNC). */
__attribute__((unused)) static long install(struct sock_filter *code, size_t count, unsigned flags) {
    struct sock_fprog program = {(unsigned short)count, code};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* A filter that answers one call with an errno. */
__attribute__((unused)) static void forbid(long call, int with) {
    struct sock_filter code[] = {LOAD_NUMBER, ON(call, SECCOMP_RET_ERRNO | with), RETURN(SECCOMP_RET_ALLOW)};
    MUST(install(code, COUNT(code), 0));
}

/* Whether a call without arguments is answered with that errno. */
__attribute__((unused)) static bool is_forbidden(long call, int with) {
    errno = 0;
    return syscall(call, 0, 0, 0, 0, 0, 0) < 0 && errno == with;
}

#endif
