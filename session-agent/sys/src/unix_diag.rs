//! The unix sockets of a network namespace, by NETLINK_SOCK_DIAG: peers, queues, states.
//!
//! [`parse`] is pure; [`dump`] asks. Anything malformed is left out, never a panic.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::descriptor::check;

/// A socket is connected.
pub const ESTABLISHED: u8 = 1;
/// A socket listens.
pub const LISTEN: u8 = 10;

/// One unix socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// ESTABLISHED, LISTEN or anything else.
    pub state: u8,
    /// The inode of the other side; 0 if that is gone or not accepted yet; `None` for no other side.
    pub peer: Option<u64>,
    /// Device and inode of the file that it is bound to, in the form of stat(2).
    pub file: Option<(u64, u64)>,
    /// For a listener: the sockets that wait to be accepted.
    pub waiting: Vec<u64>,
    /// Bytes to be read; for a listener, connections to be accepted.
    pub incoming: u32,
    /// Bytes sent and not read by the other side; for a listener, how many may wait.
    pub outgoing: u32,
    /// 1: receives no more, 2: sends no more.
    pub shutdown: u8,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// All unix sockets of the namespace that the netlink socket belongs to, by inode.
///
/// # Errors
/// If the kernel refuses or answers with an error.
pub fn dump(netlink: BorrowedFd<'_>) -> io::Result<HashMap<u64, UnixSocket>> {
    let fd = netlink.as_raw_fd();
    let mut request = Vec::with_capacity(40);
    request.extend(40u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(0x301u16.to_ne_bytes()); // NLM_F_REQUEST | NLM_F_DUMP
    request.extend([0; 8]);
    request.extend([libc::AF_UNIX as u8, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes()); // every state
    request.extend(0u32.to_ne_bytes());
    request.extend(0x1eu32.to_ne_bytes()); // file, peer, waiting connections, queue lengths
    request.extend([0xff; 8]); // no cookie
    // SAFETY: the bytes are ours and as many as said.
    check(unsafe { libc::send(fd, request.as_ptr().cast(), request.len(), 0) } as libc::c_long)?;
    let mut sockets = HashMap::new();
    let mut buffer = vec![0u8; 32 << 10];
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let n = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let n = check(n as libc::c_long)? as usize;
        if parse(&buffer[..n], &mut sockets)? {
            return Ok(sockets);
        }
    }
}

/// Reads one answer; true if it was the last.
///
/// # Errors
/// The error that the kernel answered.
pub fn parse(answer: &[u8], sockets: &mut HashMap<u64, UnixSocket>) -> io::Result<bool> {
    let mut rest = answer;
    while let (Some(len), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) {
        let Some(message) = rest.get(16..len as usize) else { break };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(message, 0).unwrap_or(0) as i32;
                return Err(io::Error::from_raw_os_error(-code));
            }
            SOCK_DIAG_BY_FAMILY => sockets.extend(socket(message)),
            _ => {}
        }
        rest = rest.get((len as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(answer.is_empty())
}

/// struct unix_diag_msg: family, type, state, padding, inode, cookie; then attributes.
fn socket(message: &[u8]) -> Option<(u64, UnixSocket)> {
    let inode = u64::from(u32_at(message, 4)?);
    let mut socket = UnixSocket { state: *message.get(2)?, ..UnixSocket::default() };
    let mut rest = message.get(16..)?;
    while let (Some(len), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let Some(value) = rest.get(4..usize::from(len)) else { break };
        match kind {
            1 => {
                let (inode, device) = (u32_at(value, 0)?, u32_at(value, 4)?);
                socket.file = Some((libc::makedev(device >> 20, device & 0xf_ffff), inode.into()));
            }
            2 => socket.peer = Some(u32_at(value, 0)?.into()),
            3 => {
                socket.waiting =
                    (0..value.len() / 4).filter_map(|i| u32_at(value, 4 * i)).map(u64::from).collect()
            }
            4 => (socket.incoming, socket.outgoing) = (u32_at(value, 0)?, u32_at(value, 4)?),
            6 => socket.shutdown = *value.first()?,
            _ => {}
        }
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
    }
    Some((inode, socket))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket as nix_socket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pair_and_its_queue_are_found() {
        let diag = nix_socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::empty(),
            SockProtocol::NetlinkSockDiag,
        )
        .unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut b, b"hello").unwrap();
        let inode = |s: &UnixStream| crate::descriptor::stat(s.as_fd()).unwrap().st_ino;
        let sockets = dump(diag.as_fd()).unwrap();
        let found = &sockets[&inode(&a)];
        assert_eq!((found.state, found.peer, found.incoming), (ESTABLISHED, Some(inode(&b)), 5));
        assert!(sockets[&inode(&b)].outgoing > 0);
    }

    #[test]
    fn garbage_is_left_out() {
        let mut bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 % 256) as u8).collect();
        for at in 0..200 {
            let _ = parse(&bytes[at..], &mut HashMap::new());
            bytes[at] = 16;
        }
    }
}
