/* A child forked by a second thread while others hold what they hold: in it there is one thread, which is its first,
 * with another's stack and variables. */
#include "check.h"

static int up[2], go[2];
static _Thread_local int own;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void *forks(void *pid) {
    own = 23;
    uint64_t block[512];
    fill(block, sizeof block, 5);
    pid_t new = MUST(fork());
    if (new == 0) {
        /* No parent-death signal: its parent is the thread, which ends first. */
        pid_t tid = gettid();
        write_all(up[1], "x", 1);
        char byte;
        read_all(go[0], &byte, 1);
        bool right = own == 23 && gettid() == tid && tid == getpid() && is_filled(block, sizeof block, 5) &&
                     pthread_mutex_trylock(&held) == EBUSY;
        pthread_t thread;
        void *answer = NULL;
        /* It may start threads of its own. */
        right = right && pthread_create(&thread, NULL, (void *(*)(void *))strdup, "new") == 0 &&
                pthread_join(thread, &answer) == 0 && strcmp(answer, "new") == 0;
        _exit(right ? 77 : 1);
    }
    *(pid_t *)pid = new;
    char byte;
    read_all(go[0], &byte, 1);
    return block[3] && own == 23 ? pid : NULL;
}

int main(void) {
    MUST(pipe(up));
    MUST(pipe(go));
    pthread_mutex_lock(&held);
    pthread_t thread;
    pid_t pid = 0;
    pthread_create(&thread, NULL, forks, &pid);
    char byte;
    read_all(up[0], &byte, 1);
    ready();
    write_all(go[1], "xx", 2);
    void *answer;
    pthread_join(thread, &answer);
    CHECK(answer == &pid, "the thread lost its variables");
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 77, "the child ended with %x", status);
    return passed();
}
