//! Hearing of system calls that a filter sends to a listener (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
/// `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: libc::c_ulong = 0xc018_2101;
/// `_IOW('!', 2, __u64)`.
const VALID: libc::c_ulong = 0x4008_2102;
const CONTINUE: u32 = 1;

/// A thread that waits in a system call for the listener's word.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    id: u64,
    /// The thread, as this process sees it.
    pub tid: i32,
    /// The call's number.
    pub nr: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// The next one; waits for it.
///
/// # Errors
/// ENOENT if it went away in this moment.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Told> {
    let mut raw = [0u64; 10];
    // SAFETY: raw is as large as struct seccomp_notif, zeroed as the call demands, and lives on.
    if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, raw.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let nr = i64::from(raw[2] as u32 as i32);
    Ok(Told { id: raw[0], tid: raw[1] as u32 as i32, nr, args: raw[4..].try_into().expect("six words") })
}

impl Told {
    /// Whether it still waits.
    #[must_use]
    pub fn waits(&self, listener: BorrowedFd<'_>) -> bool {
        // SAFETY: the kernel reads one 64-bit number.
        unsafe { libc::ioctl(listener.as_raw_fd(), VALID, &raw const self.id) == 0 }
    }

    /// Lets the call go on as if nobody had listened.
    ///
    /// # Errors
    /// ENOENT if it no longer waits.
    pub fn go_on(&self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let mut answer = [self.id, 0, u64::from(CONTINUE) << 32];
        // SAFETY: answer is a live struct seccomp_notif_resp: id, value, error and flags.
        if unsafe { libc::ioctl(listener.as_raw_fd(), SEND, answer.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
