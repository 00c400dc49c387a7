//! The pass: a secret number by which the engine's injected system calls get through the filters (seccomp) that
//! programs of a session installed.
//!
//! A filter is in force for injected calls too, and without privileges it can't be suspended. So Roam puts a few
//! instructions before a program's own ([`crate::confine::passable`]) that let a call pass which carries the
//! session's pass in an argument that the call does not have. A keeper has one session, hence one pass.

use std::sync::atomic::{AtomicU64, Ordering};

static PASS: AtomicU64 = AtomicU64::new(0);

/// From now on injected calls carry this pass.
pub fn set(pass: u64) {
    PASS.store(pass, Ordering::Relaxed);
}

/// What they carry; 0 if no pass was set.
#[must_use]
pub fn get() -> u64 {
    PASS.load(Ordering::Relaxed)
}

/// Puts the pass into a call with at most five arguments, or into a mapping without a file (which has six,
/// and ignores its descriptor).
pub fn show(nr: i64, args: &mut [u64; 6]) {
    let pass = get();
    match nr {
        _ if pass == 0 => {}
        libc::SYS_mmap if args[4] == u64::MAX => args[4] = pass,
        libc::SYS_mmap => {}
        _ if args[5] == 0 => args[5] = pass,
        _ => {}
    }
}
