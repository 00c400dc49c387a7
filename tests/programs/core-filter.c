/* What a core dump would hold, and how likely the kernel is to end it when memory is short. */
#include "proc.h"

int main(void) {
    write_text("/proc/self/coredump_filter", "0x5f");
    write_text("/proc/self/oom_score_adj", "555");
    ready();
    char text[64];
    read_text("/proc/self/coredump_filter", text, sizeof text);
    CHECK(strtoul(text, NULL, 16) == 0x5f, "the filter is %s", text);
    read_text("/proc/self/oom_score_adj", text, sizeof text);
    CHECK(atoi(text) == 555, "the score is %s", text);
    return passed();
}
