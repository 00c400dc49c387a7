/* A program whose first thread has ended while another goes on. */
#include "proc.h"

static void *goes_on(void *unused) {
    (void)unused;
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", getpid());
    for (;;) {
        read_text(path, text, sizeof text);
        if (strrchr(text, ')')[2] == 'Z') break;
        sched_yield();
    }
    expect_refusal("its first thread has ended");
    ready();
    passed();
    _exit(0);
}

int main(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, goes_on, NULL) == 0, "no thread");
    pthread_exit(NULL);
}
