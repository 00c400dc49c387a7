//! Resource limits of another process (prlimit(2)).

use std::io;

/// Soft and hard limit number `which` (RLIMIT_*).
///
/// # Errors
/// ESRCH if the process is gone, EPERM for another user's.
pub fn get(pid: i32, which: u32) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limit is a valid place for the result; nothing is set.
    let ret = unsafe { libc::prlimit(pid, which, std::ptr::null(), &raw mut limit) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok((limit.rlim_cur, limit.rlim_max)) }
}

/// Whether timers can be made under a wanted id (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15).
#[must_use]
pub fn timer_ids_can_be_chosen() -> bool {
    const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
    const GET: i32 = 2;
    // SAFETY: plain values; asking changes nothing.
    unsafe { libc::prctl(PR_TIMER_CREATE_RESTORE_IDS, GET, 0, 0, 0) >= 0 }
}
