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

/// Soft limits of another process that are raised to the hard ones until this value is dropped.
#[derive(Debug)]
pub struct Raised(i32, Vec<(u32, libc::rlimit)>);

impl Raised {
    /// Raises those limits that are below. What can't be raised stays as it is.
    #[must_use]
    pub fn take(pid: i32, which: &[u32]) -> Self {
        let mut before = Vec::new();
        for &which in which {
            let Ok((soft, hard)) = get(pid, which) else { continue };
            let old = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            if soft < hard && set(pid, which, libc::rlimit { rlim_cur: hard, rlim_max: hard }).is_ok() {
                before.push((which, old));
            }
        }
        Self(pid, before)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        for (which, limit) in &self.1 {
            // A process that is gone has no limits.
            let _ = set(self.0, *which, *limit);
        }
    }
}

fn set(pid: i32, which: u32, limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: the kernel reads one structure of this size; nothing is asked back.
    let ret = unsafe { libc::prlimit(pid, which, &raw const limit, std::ptr::null_mut()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether timers can be made under a wanted id (PR_TIMER_CREATE_RESTORE_IDS, Linux 6.15).
#[must_use]
pub fn timer_ids_can_be_chosen() -> bool {
    const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
    const GET: i32 = 2;
    // SAFETY: plain values; asking changes nothing.
    unsafe { libc::prctl(PR_TIMER_CREATE_RESTORE_IDS, GET, 0, 0, 0) >= 0 }
}
