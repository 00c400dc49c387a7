/* A program whose file was deleted while it ran, and one whose file was replaced by another: both go on, and can
 * still be executed by /proc/self/exe. */
#include "proc.h"

static void copy(const char *from, const char *to) {
    static char block[1 << 20];
    int in = MUST(open(from, O_RDONLY)), out = MUST(open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700));
    ssize_t got;
    while ((got = read(in, block, sizeof block)) > 0) write_all(out, block, (size_t)got);
    close(in);
    close(out);
}

static int go[2], back[2];

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "again") == 0) return 44;
    if (count > 1) {
        /* Run from a copy. words[1]: what becomes of it. */
        int in = atoi(words[2]), out = atoi(words[3]);
        if (strcmp(words[1], "replaced") == 0) {
            char *other = NULL;
            if (asprintf(&other, "%s.other", words[0]) < 0) abort();
            copy("/bin/true", other);
            MUST(rename(other, words[0]));
        } else {
            MUST(unlink(words[0]));
        }
        char byte, exe[4096] = {0}, now[4096] = {0};
        MUST(readlink("/proc/self/exe", exe, sizeof exe - 1));
        write_all(out, "x", 1);
        read_all(in, &byte, 1);
        MUST(readlink("/proc/self/exe", now, sizeof now - 1));
        /* A file without a name may have got another one, but it must be a deleted one still. */
        if (!strstr(exe, " (deleted)") || !strstr(now, " (deleted)")) return 3;
        pid_t pid = fork();
        if (pid == 0) {
            execl("/proc/self/exe", words[0], "again", NULL);
            _exit(4);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid) return 5;
        return WIFEXITED(status) && WEXITSTATUS(status) == 44 ? 0 : 100 + WEXITSTATUS(status);
    }
    MUST(pipe(go));
    MUST(pipe(back));
    const char *ways[] = {"deleted", "replaced"};
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
        char *path = in_folder(ways[i]), in[16], out[16], byte;
        copy("/proc/self/exe", path);
        snprintf(in, sizeof in, "%d", go[0]);
        snprintf(out, sizeof out, "%d", back[1]);
        pids[i] = MUST(fork());
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            execl(path, path, ways[i], in, out, NULL);
            _exit(9);
        }
        read_all(back[0], &byte, 1);
    }
    ready();
    write_all(go[1], "xx", 2);
    for (int i = 0; i < 2; i++) {
        int status;
        MUST(waitpid(pids[i], &status, 0));
        CHECK(status == 0, "the %s one ended with %x", ways[i], status);
    }
    return passed();
}
