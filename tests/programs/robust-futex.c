/* Robust lists: whoever dies with a robust mutex leaves word of it. */
#include "check.h"

static pthread_mutex_t *mutexes;
static int pipe_up[2];

static int holder(void *unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) pthread_mutex_lock(&mutexes[i]);
    write_all(pipe_up[1], "x", 1);
    while (pause() < 0) {
    }
    return 0;
}

int main(void) {
    mutexes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attribute;
    pthread_mutexattr_init(&attribute);
    pthread_mutexattr_setpshared(&attribute, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attribute, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < 3; i++) pthread_mutex_init(&mutexes[i], &attribute);
    MUST(pipe(pipe_up));
    pid_t pid = child(holder, NULL);
    char byte;
    read_all(pipe_up[0], &byte, 1);
    void *head;
    size_t length;
    MUST(syscall(SYS_get_robust_list, 0, &head, &length));
    ready();
    void *now;
    MUST(syscall(SYS_get_robust_list, 0, &now, &length));
    CHECK(now == head, "our own robust list was %p and is %p", head, now);
    for (int i = 0; i < 3; i++) CHECK(pthread_mutex_trylock(&mutexes[i]) == EBUSY, "mutex %d is free", i);
    end_child(pid);
    for (int i = 0; i < 3; i++) {
        int answer = pthread_mutex_lock(&mutexes[i]);
        CHECK(answer == EOWNERDEAD, "mutex %d answers %d", i, answer);
        pthread_mutex_consistent(&mutexes[i]);
        pthread_mutex_unlock(&mutexes[i]);
    }
    return passed();
}
