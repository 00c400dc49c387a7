/* personality(2): no randomised addresses, readable means executable; for threads and new programs too. */
#include "faults.h"
#include <sys/personality.h>

static void *look(void *unused) {
    (void)unused;
    return (void *)(uintptr_t)(unsigned)personality(0xffffffff);
}

int main(int count, char **words) {
    (void)words;
    unsigned wanted = ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC;
    if (count > 1) return (unsigned)personality(0xffffffff) & ADDR_NO_RANDOMIZE ? 0 : 1;
    MUST(personality(wanted));
    char *before = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *before = (char)0xc3;
    ((void (*)(void))before)();
    ready();
    CHECK((unsigned)personality(0xffffffff) == wanted, "it is %x", (unsigned)personality(0xffffffff));
    ((void (*)(void))before)();
    char *after = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *after = (char)0xc3;
    ((void (*)(void))after)();
    pthread_t thread;
    void *answer;
    pthread_create(&thread, NULL, look, NULL);
    pthread_join(thread, &answer);
    CHECK(answer == (void *)(uintptr_t)wanted, "a new thread has another");
    int status;
    pid_t pid = MUST(fork());
    if (pid == 0) {
        execl("/proc/self/exe", "again", "x", NULL);
        _exit(9);
    }
    MUST(waitpid(pid, &status, 0));
    CHECK(status == 0, "a new program has another: %x", status);
    return passed();
}
