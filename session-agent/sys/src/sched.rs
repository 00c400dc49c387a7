//! Scheduling class, priority and nice value of a thread.

use std::io;

/// Policy, static priority and nice value (sched_getscheduler(2), sched_getparam(2), getpriority(2)).
///
/// # Errors
/// ESRCH if the thread is gone.
pub fn get(tid: i32) -> io::Result<(i32, i32, i32)> {
    // SAFETY: plain values.
    let policy = unsafe { libc::sched_getscheduler(tid) };
    if policy < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut param = libc::sched_param { sched_priority: 0 };
    // SAFETY: param is a valid place for the result.
    if unsafe { libc::sched_getparam(tid, &raw mut param) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // The raw call answers 20 - nice, so that no error looks like a value.
    // SAFETY: plain values.
    let raw = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, tid) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((policy, param.sched_priority, 20 - raw as i32))
}
