/* Holds everything at once: runs the programs named as arguments as its children, each in a folder
 * of its own, and checks by letting each of them check. */
#include "check.h"

struct one { pid_t pid; char *name, *folder; int said; };

int main(int count, char **words) {
    int many = count - 1;
    struct one *all = calloc((size_t)many, sizeof *all);
    CHECK(many > 0, "usage: road PROGRAM…");
    for (int i = 0; i < many; i++) {
        struct one *one = &all[i];
        one->name = basename(words[i + 1]);
        one->folder = in_folder(one->name);
        MUST(mkdir(one->folder, 0700));
        int ends[2];
        MUST(pipe2(ends, O_CLOEXEC));
        /* All pipes of a user together are bounded, and some of the programs are about large ones. */
        MUST(fcntl(ends[0], F_SETPIPE_SZ, 4096));
        one->pid = MUST(fork());
        if (one->pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            dup2(ends[1], 1);
            setenv("ROAM_TEST_DIR", one->folder, 1);
            execl(words[i + 1], one->name, NULL);
            perror(words[i + 1]);
            _exit(127);
        }
        close(ends[1]);
        one->said = ends[0];
    }
    for (int i = 0; i < many; i++) {
        char line[6];
        read_all(all[i].said, line, 6);
        CHECK(memcmp(line, "ready\n", 6) == 0, "%s did not get ready", all[i].name);
    }
    ready();
    for (int i = 0; i < many; i++) {
        MUST(setenv("ROAM_TEST_DIR", all[i].folder, 1));
        char *path = in_folder("ready"), text[16] = {0};
        int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
        MUST(read(fd, text, sizeof text - 1));
        close(fd);
        CHECK(atoi(text) == all[i].pid, "%s has another pid", all[i].name);
        MUST(kill(all[i].pid, SIGUSR2));
    }
    char *wrong = strdup("");
    for (int i = 0; i < many; i++) {
        int status;
        char text[1024] = {0};
        CHECK(waitpid(all[i].pid, &status, 0) == all[i].pid, "%s is gone", all[i].name);
        if (status == 0) continue;
        size_t length = 0;
        ssize_t got;
        while ((got = read(all[i].said, text + length, sizeof text - 1 - length)) > 0) length += (size_t)got;
        char *longer = NULL;
        if (asprintf(&longer, "%s%s: %s (%x) ", wrong, all[i].name, text, status) < 0) abort();
        wrong = longer;
    }
    char *folder = strdup(all[0].folder);
    *strrchr(folder, '/') = 0;
    setenv("ROAM_TEST_DIR", folder, 1);
    CHECK(*wrong == 0, "%s", wrong);
    return passed();
}
