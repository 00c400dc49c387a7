//! /proc, read: pure parsers on text, one file per format, and thin readers around them.

pub mod fdinfo;
pub mod maps;
pub mod net;
pub mod smaps;
pub mod stat;
pub mod status;

use std::io;

/// Reads a whole /proc file.
///
/// # Errors
/// As open(2) and read(2): ENOENT or ESRCH if the process is gone.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// The pids of a task's children (`/proc/PID/task/TID/children`).
///
/// # Errors
/// ENOENT if the task is gone.
pub fn children(pid: i32, tid: i32) -> io::Result<Vec<i32>> {
    let text = read(&format!("/proc/{pid}/task/{tid}/children"))?;
    Ok(text
        .split(u8::is_ascii_whitespace)
        .filter_map(|w| std::str::from_utf8(w).ok()?.parse().ok())
        .collect())
}

/// The thread ids of a process (`/proc/PID/task`), ascending.
///
/// # Errors
/// ENOENT if the process is gone.
pub fn threads(pid: i32) -> io::Result<Vec<i32>> {
    let mut tids: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/task"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    tids.sort_unstable();
    Ok(tids)
}
