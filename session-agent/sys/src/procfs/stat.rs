//! /proc/PID/stat (proc(5)).

use std::io;

/// The fields that a checkpoint needs, named as in proc(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// The name, at most 15 bytes.
    pub comm: Vec<u8>,
    /// R, S, D, T, t, Z…
    pub state: u8,
    /// Parent, as the reader of /proc sees it.
    pub ppid: i32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub session: i32,
    /// It is on its way out: what it had is being taken from it.
    pub exiting: bool,
    /// The signal sent to the parent at the end.
    pub exit_signal: i32,
    /// The wait status of a zombie.
    pub exit_code: i32,
    /// Clock ticks since boot when it started.
    pub starttime: u64,
    /// Addresses that PR_SET_MM_MAP sets.
    pub mm: MmFields,
}

/// Where the kernel believes the parts of the program to lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MmFields {
    /// startcode
    pub start_code: u64,
    /// endcode
    pub end_code: u64,
    /// startstack
    pub start_stack: u64,
    /// start_data
    pub start_data: u64,
    /// end_data
    pub end_data: u64,
    /// start_brk
    pub start_brk: u64,
    /// arg_start
    pub arg_start: u64,
    /// arg_end
    pub arg_end: u64,
    /// env_start
    pub env_start: u64,
    /// env_end
    pub env_end: u64,
}

const PF_EXITING: u64 = 4;

/// Parses the file's one line.
///
/// # Errors
/// InvalidData if fields are missing.
pub fn parse(text: &[u8]) -> io::Result<Stat> {
    inner(text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a line of stat"))
}

fn inner(text: &[u8]) -> Option<Stat> {
    // The name may hold anything, parentheses included: it ends at the last one.
    let open = text.iter().position(|b| *b == b'(')?;
    let close = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field n of proc(5) (state is 3) stands at n - 3.
    let signed = |n: usize| fields.get(n - 3)?.parse::<i32>().ok();
    let unsigned = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    Some(Stat {
        comm: text.get(open + 1..close)?.to_vec(),
        state: *fields.first()?.as_bytes().first()?,
        ppid: signed(4)?,
        pgrp: signed(5)?,
        session: signed(6)?,
        exiting: unsigned(9)? & PF_EXITING != 0,
        starttime: unsigned(22)?,
        exit_signal: signed(38)?,
        exit_code: signed(52)?,
        mm: MmFields {
            start_code: unsigned(26)?,
            end_code: unsigned(27)?,
            start_stack: unsigned(28)?,
            start_data: unsigned(45)?,
            end_data: unsigned(46)?,
            start_brk: unsigned(47)?,
            arg_start: unsigned(48)?,
            arg_end: unsigned(49)?,
            env_start: unsigned(50)?,
            env_end: unsigned(51)?,
        },
    })
}

/// The CPU on which the task last ran.
#[must_use]
pub fn last_cpu(text: &[u8]) -> Option<usize> {
    let close = text.iter().rposition(|b| *b == b')')?;
    std::str::from_utf8(text.get(close + 2..)?).ok()?.split_ascii_whitespace().nth(39 - 3)?.parse().ok()
}

/// Reads it for one thread of a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone.
pub fn read_thread(pid: i32, tid: i32) -> io::Result<Stat> {
    parse(&super::read(&format!("/proc/{pid}/task/{tid}/stat"))?)
}

/// Whether a thread is gone, has ended, or is about to.
#[must_use]
pub fn is_ending(pid: i32, tid: i32) -> bool {
    read_thread(pid, tid).map_or(true, |s| s.exiting || matches!(s.state, b'Z' | b'X'))
}

/// Reads it for a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone.
pub fn read(pid: i32) -> io::Result<Stat> {
    parse(&super::read(&format!("/proc/{pid}/stat"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses() {
        let tail: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = parse(format!("17 (a) b (c)) S {}", tail.join(" ")).as_bytes()).unwrap();
        assert_eq!(stat.comm, b"a) b (c)");
        assert_eq!((stat.ppid, stat.session, stat.exit_signal, stat.exit_code), (4, 6, 38, 52));
        assert_eq!((stat.mm.start_code, stat.mm.env_end), (26, 51));
    }

    #[test]
    fn this_process_parses_and_garbage_does_not() {
        assert_eq!(read(std::process::id() as i32).unwrap().ppid, nix::unistd::getppid().as_raw());
        assert!(parse(b"1 (x) S 1").is_err());
        assert!(parse(b"").is_err());
    }
}
