//! What a TCP socket has sent and not delivered, and addresses that others have too, by TCP_REPAIR (tcp(7)).
//!
//! It needs CAP_NET_ADMIN in the user namespace of the socket's network, which whoever made that namespace
//! has. The socket is left as it was, and nothing goes over the network for it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::descriptor::check;
use crate::socket::{bind, option, peek_stream, set_option};

const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const ON: i32 = 1;
/// Off, and without the probe that the kernel would send otherwise.
const OFF_QUIETLY: i32 = -1;

/// A queue of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// What came in.
    Receive = 1,
    /// What goes out.
    Send = 2,
}

/// The number of the next byte that comes in, or that the program sends.
///
/// # Errors
/// EPERM without the capability.
pub fn number(fd: BorrowedFd<'_>, queue: Queue) -> io::Result<u32> {
    repairing(fd, queue, || option(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ).map(|n| n as u32))
}

/// The number of the next byte that the program sends, and all before it that the other side has not
/// confirmed.
///
/// # Errors
/// EPERM without the capability.
pub fn sent(fd: BorrowedFd<'_>) -> io::Result<(u32, Vec<u8>)> {
    repairing(fd, Queue::Send, || {
        let number = option(fd, libc::IPPROTO_TCP, TCP_QUEUE_SEQ)? as u32;
        let mut length: libc::c_int = 0;
        // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut length) }.into())?;
        // An end that is not confirmed counts as well, but has no byte.
        let queue = if length == 0 { Vec::new() } else { peek_stream(fd, length as usize)? };
        Ok((number, queue))
    })
}

/// Binds it to an address, also to one that others have and do not allow it to share.
///
/// # Errors
/// As bind(2), but EADDRINUSE; EPERM without the capability.
pub fn bind_beside_others(fd: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    while_on(fd, || bind(fd, address))
}

fn repairing<T>(fd: BorrowedFd<'_>, queue: Queue, ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    while_on(fd, || set_option(fd, libc::IPPROTO_TCP, TCP_REPAIR_QUEUE, queue as i32).and_then(|()| ask()))
}

fn while_on<T>(fd: BorrowedFd<'_>, ask: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // Repairing takes hold of SO_REUSEADDR and does not give it back.
    let reuse = option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    set_option(fd, libc::IPPROTO_TCP, TCP_REPAIR, ON)?;
    let answer = ask();
    set_option(fd, libc::IPPROTO_TCP, TCP_REPAIR, OFF_QUIETLY)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, i32::from(reuse != 0))?;
    answer
}
