//! Descriptors that a program was started with, such as `--fd 3`.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes a copy of an inherited descriptor, closed on exec. The inherited number stays open, so that
/// naming one that somebody else in this process owns can't harm him.
///
/// # Errors
/// The kernel's, most likely EBADF: nothing was passed under this number.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC touches no memory; it makes a new descriptor or fails.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_copy_is_another_number_and_nothing_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_ne!(inherited(file.as_raw_fd()).unwrap().as_raw_fd(), file.as_raw_fd());
        assert!(inherited(-1).is_err());
    }
}
