/* Pages that are zeroed again, and zero pages that are written, all the time while the session leaves: each must come
 * as it was last, though pages of zeros need not travel. A thread looks at each page before it changes it; another
 * gives pages back (MADV_DONTNEED), so that they are zero without having been written. */
#include "check.h"
#include <stdatomic.h>

enum { PAGES = 3000, PAGE = 4096 };
static unsigned char *memory;
static unsigned char expected[PAGES];
static atomic_int rounds, wrong;
static atomic_bool stop;

static bool is_all(const unsigned char *page, unsigned char value) {
    for (int i = 0; i < PAGE; i += 64)
        if (page[i] != value) return false;
    return page[PAGE - 1] == value;
}

static void *rewrite(void *unused) {
    (void)unused;
    for (unsigned round = 1; !stop; round++) {
        for (unsigned i = 0; i < PAGES && !stop; i++) {
            unsigned char *page = memory + (size_t)i * PAGE;
            if (!is_all(page, expected[i])) wrong++;
            /* One third becomes zero, of which a part is given back; one third is left as it was for a round. */
            switch ((i / 7 + round) % 3) {
            case 0:
                expected[i] = 0;
                if (i % 5 == 0) madvise(page, PAGE, MADV_DONTNEED);
                else memset(page, 0, PAGE);
                break;
            case 1:
                expected[i] = (unsigned char)(round % 255 + 1);
                memset(page, expected[i], PAGE);
                break;
            default:
                break;
            }
        }
        rounds++;
    }
    return NULL;
}

int main(void) {
    memory = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "%s", strerror(errno));
    pthread_t thread;
    pthread_create(&thread, NULL, rewrite, NULL);
    while (rounds < 4) sched_yield();
    ready();
    int seen = rounds;
    while (rounds < seen + 2) sched_yield();
    stop = true;
    pthread_join(thread, NULL);
    CHECK(wrong == 0, "%d pages are not what was last written", wrong);
    return passed();
}
