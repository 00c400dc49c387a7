//! Planned faults of a keeper's journal: its disk is full, can't be synced, or the keeper dies at that moment.
//!
//! A library that is loaded before the C library stands between the keeper and its writes to any file called
//! `journal`; what it does is read from a file, so that a test can change it.

use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_journal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    return n > 8 && memcmp(path + n - 8, "/journal", 8) == 0;
}

/* The plan's word, and its number. */
static int plan(char *word, long *number) {
    char text[64] = "";
    int fd = open(getenv("ROAM_TEST_FAULT"), O_RDONLY);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    *number = 0;
    return n > 0 && sscanf(text, "%15s %ld", word, number) >= 1;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    char word[16];
    long most;
    struct stat found;
    if (is_journal(fd) && plan(word, &most) && fstat(fd, &found) == 0 && found.st_size + (long)len > most) {
        if (strcmp(word, "die") == 0) kill(getpid(), SIGKILL);
        if (strcmp(word, "full") == 0) { errno = ENOSPC; return -1; }
    }
    return syscall(SYS_write, fd, bytes, len);
}

int fsync(int fd) {
    char word[16];
    long number;
    if (is_journal(fd) && plan(word, &number)) {
        if (strcmp(word, "die-at-sync") == 0) kill(getpid(), SIGKILL);
        if (strcmp(word, "no-sync") == 0) { errno = EIO; return -1; }
    }
    return syscall(SYS_fsync, fd);
}
"#;

pub struct Fault {
    library: PathBuf,
    plan: PathBuf,
}

impl Fault {
    /// None yet. Its files are in this folder.
    pub fn new(dir: &Path) -> Self {
        let (source, library, plan) = (dir.join("fault.c"), dir.join("fault.so"), dir.join("plan"));
        std::fs::write(&source, SHIM).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(built.unwrap().success());
        Self { library, plan }
    }

    pub fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("ROAM_TEST_FAULT", &self.plan);
    }

    /// `full N` and `die N`: at the write that makes the journal longer than N bytes. `no-sync`, `die-at-sync`.
    pub fn plan(&self, words: &str) {
        std::fs::write(&self.plan, words).unwrap();
    }

    pub fn over(&self) {
        let _ = std::fs::remove_file(&self.plan);
    }
}
