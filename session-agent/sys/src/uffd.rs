//! userfaultfd(2) for one purpose: noting writes by asynchronous write protection (Linux 6.7).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const UFFD_USER_MODE_ONLY: u64 = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const REGISTER_MODE_WP: u64 = 1 << 1;
/// `_IOWR(0xaa, 0x3f, struct uffdio_api)`.
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
/// `_IOWR(0xaa, 0x00, struct uffdio_register)`.
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;

/// The argument of an injected userfaultfd call. The kernel looks at the lower half only; the upper half
/// lets Roam's own seccomp filter tell the engine's call from a program's.
pub const FLAGS: u64 =
    0x526f_616d << 32 | libc::O_CLOEXEC as u64 | libc::O_NONBLOCK as u64 | UFFD_USER_MODE_ONLY;

/// A userfaultfd of another process, set up for noting writes. Closing it ends the noting.
#[derive(Debug)]
pub struct WriteTracker(OwnedFd);

impl WriteTracker {
    /// Takes a fresh userfaultfd.
    ///
    /// # Errors
    /// EINVAL where the kernel can't note writes asynchronously.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let mut api = [UFFD_API, UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED, 0];
        // SAFETY: api is a live struct uffdio_api.
        if unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(fd))
    }

    /// Registers a range. What is written from the next arming on is noted.
    ///
    /// # Errors
    /// EINVAL for areas that can't be registered, EBUSY if another userfaultfd has it.
    pub fn register(&self, start: u64, end: u64) -> io::Result<()> {
        let mut register = [start, end - start, REGISTER_MODE_WP, 0];
        // SAFETY: register is a live struct uffdio_register.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), UFFDIO_REGISTER, register.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Whether this kernel has it, asked once.
pub fn async_write_protection_supported() -> bool {
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        // SAFETY: plain flags; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) };
        if fd < 0 {
            return false;
        }
        // SAFETY: a fresh descriptor that nobody else has.
        WriteTracker::new(unsafe { OwnedFd::from_raw_fd(fd as i32) }).is_ok()
    })
}
