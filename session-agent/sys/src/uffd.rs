//! userfaultfd(2), never for handling faults: the kernel notes writes by asynchronous write protection
//! (Linux 6.7), or areas are only marked, so that one can be told from another that has taken its place.

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

/// What areas are registered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The kernel notes the first write to each page that is armed.
    NotingWrites,
    /// Nothing but the mark, `uw` in smaps: no page is ever protected, so nothing ever waits. An area that is mapped
    /// anew, moved by mremap, or inherited by a fork has no mark.
    MarkingAreas,
}

/// A userfaultfd of another process. Closing it takes back all registrations.
#[derive(Debug)]
pub struct Registrar(OwnedFd);

impl Registrar {
    /// Takes a fresh userfaultfd.
    ///
    /// # Errors
    /// EINVAL where the kernel can't do that.
    pub fn new(fd: OwnedFd, purpose: Purpose) -> io::Result<Self> {
        let features = match purpose {
            Purpose::NotingWrites => UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
            Purpose::MarkingAreas => 0,
        };
        let mut api = [UFFD_API, features, 0];
        // SAFETY: api is a live struct uffdio_api.
        if unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(fd))
    }

    /// One of this process.
    fn own(purpose: Purpose) -> io::Result<Self> {
        // SAFETY: plain flags; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Self::new(unsafe { OwnedFd::from_raw_fd(fd as i32) }, purpose)
    }

    /// Registers a range: from now on its areas are marked. Where writes are noted, they are from the next arming
    /// on.
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

/// Whether this kernel notes writes, asked once.
pub fn async_write_protection_supported() -> bool {
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(|| Registrar::own(Purpose::NotingWrites).is_ok())
}

/// Whether areas can be marked here, tried once.
pub fn marks_supported() -> bool {
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        let tried = || -> io::Result<()> {
            let page = crate::soft_dirty::Page::map()?;
            Registrar::own(Purpose::MarkingAreas)?
                .register(page.address(), page.address() + crate::soft_dirty::PAGE)
        };
        tried().is_ok()
    })
}
