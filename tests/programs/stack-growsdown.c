/* A mapping made with MAP_GROWSDOWN goes on growing by itself, and stops at what lies below it. */
#include "faults.h"
#include "proc.h"

int main(void) {
    catch_faults();
    size_t room = 4096 * 4096;
    char *place = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(place != MAP_FAILED, "no room");
    MUST(munmap(place + 4096, room - 4096));
    char *top = place + room - 8192;
    char *stack = mmap(top - 4 * 4096, 4 * 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    CHECK(stack == top - 4 * 4096, "no stack");
    fill(stack, 4 * 4096, 3);
    stack[-1] = 5;
    CHECK(vm_flag(stack, "gd"), "the test itself");
    ready();
    CHECK(is_filled(stack, 4 * 4096, 3) && stack[-1] == 5, "contents changed");
    CHECK(vm_flag(stack, "gd"), "it grows no more, says the kernel");
    for (int i = 2; i < 64; i++) CHECK(writing(stack - i * 4096) == 0, "it does not grow by page %d", i);
    CHECK(is_filled(stack, 4 * 4096, 3), "growing changed it");
    CHECK(writing(place + 4096) == SIGSEGV, "it grows into its neighbour");
    return passed();
}
