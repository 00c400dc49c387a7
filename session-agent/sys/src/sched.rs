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

/// I/O priority (ioprio_get(2)); 0 if the thread never asked for one.
///
/// # Errors
/// ESRCH if the thread is gone.
pub fn io_priority(tid: i32) -> io::Result<i32> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: plain values.
    let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, tid) };
    if priority < 0 {
        return Err(io::Error::last_os_error());
    }
    // Without a class the level says nothing.
    Ok(if priority >> 13 == 0 { 0 } else { priority as i32 })
}

/// The CPUs a thread may run on, one bit each, without zeros at the end: as many as the kernel allows at most
/// (CONFIG_NR_CPUS, 8192).
///
/// # Errors
/// ESRCH if the thread is gone.
pub fn affinity(tid: i32) -> io::Result<Vec<u64>> {
    let mut set = [0u64; 128];
    // SAFETY: set is a valid place for the result.
    let len = unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, size_of_val(&set), set.as_mut_ptr()) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let used = set.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    Ok(set[..used].to_vec())
}

/// Binds the calling thread to one CPU; returns what it may run on until then, for [`unbind`].
///
/// # Errors
/// EINVAL if it may not run there.
pub fn bind(cpu: usize) -> io::Result<[u64; 16]> {
    let mut before = [0u64; 16];
    let mut one = [0u64; 16];
    *one.get_mut(cpu / 64).ok_or(io::ErrorKind::InvalidInput)? |= 1 << (cpu % 64);
    // SAFETY: both are valid sets of the size given.
    let ok = unsafe {
        libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&before), before.as_mut_ptr()) >= 0
            && libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&one), one.as_ptr()) >= 0
    };
    if ok { Ok(before) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run where it could before [`bind`].
pub fn unbind(before: &[u64; 16]) {
    // SAFETY: a valid set of the size given. It can only fail if CPUs went away, and then the kernel
    // chooses others by itself.
    unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(before), before.as_ptr()) };
}
