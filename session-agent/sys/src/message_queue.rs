//! POSIX message queues, through a descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::descriptor::check;

/// What a queue is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// How many messages it takes.
    pub most: i64,
    /// How long a message may be, in bytes.
    pub size: i64,
    /// How many are queued.
    pub now: i64,
}

/// struct mq_attr: flags, most, size, now, four words of reserve.
type Raw = [libc::c_long; 8];

/// mq_getattr(3).
///
/// # Errors
/// EBADF for what is no queue.
pub fn attributes(queue: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut raw: Raw = [0; 8];
    // SAFETY: the kernel writes one structure of this size; nothing is set.
    check(unsafe {
        libc::syscall(libc::SYS_mq_getsetattr, queue.as_raw_fd(), std::ptr::null::<Raw>(), &raw mut raw)
    })?;
    Ok(Attributes { most: raw[1], size: raw[2], now: raw[3] })
}

/// Has calls through this open file not wait.
///
/// # Errors
/// EBADF for what is no queue.
pub fn set_nonblocking(queue: BorrowedFd<'_>) -> io::Result<()> {
    let raw: Raw = [libc::O_NONBLOCK.into(), 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: the kernel reads one structure of this size.
    check(unsafe {
        libc::syscall(libc::SYS_mq_getsetattr, queue.as_raw_fd(), &raw const raw, std::ptr::null_mut::<Raw>())
    })
    .map(drop)
}

/// mq_receive(3): length and priority. The room must be as large as the largest message.
///
/// # Errors
/// EAGAIN if nothing is queued, EMSGSIZE for too little room.
pub fn receive(queue: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<(usize, u32)> {
    let mut priority = 0u32;
    // SAFETY: the kernel writes at most so many bytes into the room, and one number; there is no time-out.
    let len = check(unsafe {
        libc::syscall(
            libc::SYS_mq_timedreceive,
            queue.as_raw_fd(),
            room.as_mut_ptr(),
            room.len(),
            &raw mut priority,
            std::ptr::null::<libc::timespec>(),
        )
    })?;
    Ok((len as usize, priority))
}

/// mq_send(3).
///
/// # Errors
/// EAGAIN if the queue is full, EMSGSIZE if the message is too long.
pub fn send(queue: BorrowedFd<'_>, message: &[u8], priority: u32) -> io::Result<()> {
    // SAFETY: the kernel reads so many bytes; there is no time-out.
    check(unsafe {
        libc::syscall(
            libc::SYS_mq_timedsend,
            queue.as_raw_fd(),
            message.as_ptr(),
            message.len(),
            priority,
            std::ptr::null::<libc::timespec>(),
        )
    })
    .map(drop)
}
