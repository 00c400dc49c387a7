/* Protection keys: pages keep their key, threads their rights, and keys in use are not given out again. A CPU
 * without them has nothing to keep. */
#include "faults.h"
#include "proc.h"

static pthread_barrier_t before, after;
static int key;
static char *guarded;

static void *other(void *unused) {
    (void)unused;
    MUST(pkey_set(key, 0));
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    CHECK(pkey_get(key) == 0, "the thread's rights are %x", pkey_get(key));
    CHECK(guarded[1] == 7, "what it may read changed");
    return NULL;
}

int main(void) {
    catch_faults();
    int spare = pkey_alloc(0, 0);
    if (spare < 0) {
        ready();
        return passed();
    }
    key = MUST(pkey_alloc(0, 0));
    int other_key = MUST(pkey_alloc(0, PKEY_DISABLE_WRITE));
    MUST(pkey_free(spare));
    guarded = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(guarded, 7, 4 * 4096);
    MUST(pkey_mprotect(guarded, 4096, PROT_READ | PROT_WRITE, key));
    MUST(pkey_mprotect(guarded + 4096, 4096, PROT_READ | PROT_WRITE, other_key));
    pthread_t thread;
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    pthread_create(&thread, NULL, other, NULL);
    pthread_barrier_wait(&before);
    MUST(pkey_set(key, PKEY_DISABLE_ACCESS));
    CHECK(reading(guarded) == SIGSEGV && writing(guarded + 4096) == SIGSEGV, "the test itself");
    MUST(pkey_set(key, PKEY_DISABLE_ACCESS));
    MUST(pkey_set(other_key, PKEY_DISABLE_WRITE));
    ready();
    CHECK(pkey_get(key) == PKEY_DISABLE_ACCESS, "the rights are %x", pkey_get(key));
    CHECK(pkey_get(other_key) == PKEY_DISABLE_WRITE, "the other key's rights are %x", pkey_get(other_key));
    CHECK(smaps_number(guarded, "ProtectionKey") == key, "the page has key %ld", smaps_number(guarded, "ProtectionKey"));
    CHECK(smaps_number(guarded + 4096, "ProtectionKey") == other_key, "the other page has another key");
    CHECK(smaps_number(guarded + 8192, "ProtectionKey") == 0, "a plain page has a key");
    CHECK(reading(guarded) == SIGSEGV && fault_code == SEGV_PKUERR, "a guarded page can be read");
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    /* The handler of the fault ran with fewer rights, and they stay so after siglongjmp. */
    MUST(pkey_set(key, 0));
    MUST(pkey_set(other_key, 0));
    CHECK(guarded[1] == 7 && guarded[4097] == 7, "contents changed");
    int fresh = MUST(pkey_alloc(0, 0));
    CHECK(fresh != key && fresh != other_key, "key %d is given out twice", fresh);
    return passed();
}
