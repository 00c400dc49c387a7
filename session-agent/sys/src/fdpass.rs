//! Bytes with descriptors over a unix socket (SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors that travel with one message.
pub const MAX_DESCRIPTORS: usize = 16;

/// Sends bytes; the descriptors go with the first of them. Returns how many bytes went.
///
/// # Errors
/// The kernel's.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let sent =
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(sent)
}

/// Receives at most `buffer.len()` bytes and adds the descriptors that came with them, closed on
/// exec. Returns how many bytes came; 0 is the end.
///
/// # Errors
/// The kernel's; EMSGSIZE if more than [`MAX_DESCRIPTORS`] were sent at once.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut room = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let truncated = message.flags.contains(MsgFlags::MSG_CTRUNC);
    let bytes = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel installed these descriptors for this call; nobody else owns them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if truncated {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_bytes() {
        let (here, there) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!(send(here.as_fd(), b"ab", &[writer.as_fd()]).unwrap(), 2);
        drop(writer);
        let (mut buffer, mut came) = ([0; 1], Vec::new());
        assert_eq!(receive(there.as_fd(), &mut buffer, &mut came).unwrap(), 1);
        assert_eq!((came.len(), &buffer), (1, b"a"));
        nix::unistd::write(&came[0], b"through").unwrap();
        drop(came);
        let mut text = String::new();
        { reader }.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
