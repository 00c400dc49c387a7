/* Memory that was only read, or touched and given back, takes no memory at the target either. */
#include "proc.h"

int main(void) {
    size_t size = 64 << 20;
    char *read = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *back = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(read != MAP_FAILED && back != MAP_FAILED, "no memory");
    unsigned sum = 0;
    for (size_t i = 0; i < size; i += 4096) sum += (unsigned char)read[i];
    memset(back, 1, size);
    MUST(madvise(back, size, MADV_DONTNEED));
    long before = status_number("RssAnon");
    CHECK(sum == 0, "the test itself");
    ready();
    CHECK(status_number("RssAnon") < before + 8192, "%ld kB of memory, were %ld", status_number("RssAnon"), before);
    for (size_t i = 0; i < size; i += 4096) CHECK(read[i] == 0 && back[i] == 0, "it is not zero");
    return passed();
}
