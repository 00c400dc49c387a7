/* What /proc says of this process, for programs that check it. */
#ifndef PROC_H
#define PROC_H

#include "check.h"
#include <ctype.h>

/* The part of smaps about the area that holds this address, header line first. Free it. */
__attribute__((unused)) static char *smaps_of(const void *address) {
    FILE *file = fopen("/proc/self/smaps", "re");
    CHECK(file, "no smaps");
    char *text = calloc(1, 8192), *line = NULL;
    size_t length = 0, room = 0;
    bool inside = false;
    while (getline(&line, &room, file) > 0) {
        unsigned long start, end;
        int used = 0;
        /* Only the head of an area begins with two addresses. */
        if (islower(line[0]) || isdigit(line[0]))
            if (sscanf(line, "%lx-%lx %n", &start, &end, &used) == 2 && used > 0)
                inside = start <= (unsigned long)address && (unsigned long)address < end;
        if (inside && length + strlen(line) < 8192) length += (size_t)sprintf(text + length, "%s", line);
    }
    free(line);
    fclose(file);
    return text;
}

/* Whether VmFlags of the area has this two-letter flag. */
__attribute__((unused)) static bool vm_flag(const void *address, const char *flag) {
    char *text = smaps_of(address), *flags = strstr(text, "VmFlags:"), word[5];
    snprintf(word, sizeof word, " %s ", flag);
    bool has = flags && strstr(flags, word);
    free(text);
    return has;
}

/* A number of smaps, such as "Rss"; -1 if it is not there. */
__attribute__((unused)) static long smaps_number(const void *address, const char *field) {
    char *text = smaps_of(address), *name = NULL;
    if (asprintf(&name, "\n%s:", field) < 0) abort();
    char *at = strstr(text, name);
    long number = at ? strtol(at + strlen(name), NULL, 10) : -1;
    free(name);
    free(text);
    return number;
}

/* The value of a line of /proc/self/status as text; empty if there is none. */
__attribute__((unused)) static const char *status_of(const char *field) {
    static char value[4096];
    FILE *file = fopen("/proc/self/status", "re");
    CHECK(file, "no status");
    char line[4096];
    size_t length = strlen(field);
    value[0] = 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            char *at = line + length + 1;
            while (isspace(*at)) at++;
            at[strcspn(at, "\n")] = 0;
            strcpy(value, at);
        }
    fclose(file);
    return value;
}

__attribute__((unused)) static long status_number(const char *field) { return strtol(status_of(field), NULL, 10); }

/* How many of these pages of this process are in memory and other processes have them as well (bits 63 and 56 of the
 * page map): they are copied once somebody writes to them. */
__attribute__((unused)) static int pages_in_common(const void *memory, int pages) {
    uint64_t entry;
    int common = 0, fd = MUST(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    for (int page = 0; page < pages; page++) {
        off_t at = (off_t)(((uintptr_t)memory / 4096 + (uintptr_t)page) * 8);
        CHECK(pread(fd, &entry, 8, at) == 8, "no page map");
        common += (entry >> 63) && !(entry >> 56 & 1);
    }
    close(fd);
    return common;
}

/* Reads a small file whole. */
__attribute__((unused)) static void read_text(const char *path, char *room, size_t size) {
    int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
    size_t length = 0;
    ssize_t got;
    while (length + 1 < size && (got = read(fd, room + length, size - 1 - length)) > 0) length += (size_t)got;
    room[length] = 0;
    close(fd);
}

__attribute__((unused)) static void write_text(const char *path, const char *text) {
    int fd = MUST(open(path, O_WRONLY | O_CLOEXEC));
    write_all(fd, text, strlen(text));
    close(fd);
}

/* Waits until a thread or process of this pid sleeps in the kernel, so that it is in the call. */
__attribute__((unused)) static void until_asleep(pid_t pid, pid_t tid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
    for (;;) {
        read_text(path, text, sizeof text);
        char *state = strrchr(text, ')');
        if (state && state[2] == 'S') return;
        sched_yield();
    }
}

#endif
