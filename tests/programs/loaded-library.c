/* Libraries loaded while the program ran: their functions and data stay, they can be unloaded, and others loaded. */
#include "check.h"
#include <dlfcn.h>

int main(void) {
    void *first = dlopen("libresolv.so.2", RTLD_NOW), *second = dlopen("libthread_db.so.1", RTLD_LAZY);
    CHECK(first && second, "no library: %s", dlerror());
    int (*parse)(const char *, unsigned char *, size_t) = dlsym(first, "ns_name_pton");
    void *init = dlsym(second, "td_init");
    CHECK(parse && init, "no function: %s", dlerror());
    unsigned char name[256], again[256];
    CHECK(parse("example.org", name, sizeof name) >= 0, "the test itself");
    ready();
    CHECK(parse("example.org", again, sizeof again) >= 0 && memcmp(name, again, 13) == 0, "its function does something else");
    CHECK(dlsym(first, "ns_name_pton") == (void *)parse && dlsym(second, "td_init") == init, "a function is elsewhere");
    /* Bound at its first call, which is now. */
    CHECK(((int (*)(void))init)() == 0, "a function that was never called does not work");
    CHECK(dlclose(second) == 0, "it can't be unloaded: %s", dlerror());
    void *third = dlopen("libanl.so.1", RTLD_NOW);
    CHECK(third, "no other library: %s", dlerror());
    CHECK(dlclose(first) == 0 && dlclose(third) == 0, "it can't be unloaded: %s", dlerror());
    return passed();
}
