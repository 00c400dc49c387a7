/* Host and domain names of a process's own; outside they are the session's. */
#include "namespaces.h"
#include <sys/utsname.h>

static int body(void *argument) {
    new_user(CLONE_NEWUTS, getuid(), getgid());
    MUST(sethostname("elsewhere", 9));
    MUST(setdomainname("nowhere.example", 15));
    prepared(argument);
    struct utsname names;
    MUST(uname(&names));
    CHECK(strcmp(names.nodename, "elsewhere") == 0, "the host is %s", names.nodename);
    CHECK(strcmp(names.domainname, "nowhere.example") == 0, "the domain is %s", names.domainname);
    MUST(sethostname("again", 5));
    return 0;
}

int main(void) {
    struct steps *steps = new_steps();
    struct utsname before, now;
    MUST(uname(&before));
    pid_t pid = child(body, steps);
    until_prepared(steps);
    ready();
    MUST(uname(&now));
    CHECK(strcmp(before.nodename, now.nodename) == 0, "outside the host is %s", now.nodename);
    go_on(steps);
    ends_well(pid);
    return passed();
}
