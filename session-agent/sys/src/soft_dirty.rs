//! Soft-dirty bits (CONFIG_MEM_SOFT_DIRTY): the kernel sets one for each page that is written after they were
//! cleared by `/proc/PID/clear_refs`; [`crate::pagemap::Pagemap::entries`] reads them.
//!
//! There is one set of bits for a process, whoever clears it. Where the kernel lacks them, clearing succeeds all the
//! same and every bit stays 0: so they are tried on a page of our own.

use std::fs::File;
use std::io::{self, Write};

use crate::pagemap::Pagemap;
use crate::runs::Run;

pub(crate) const PAGE: u64 = 4096;

/// /proc/PID/clear_refs, open. It stays that process's when its number is used again.
#[derive(Debug)]
pub struct ClearRefs(File);

impl ClearRefs {
    /// Opens it.
    ///
    /// # Errors
    /// EACCES for a process of another user or one that keeps its memory to itself, ENOENT if it is gone.
    pub fn open(pid: i32) -> io::Result<Self> {
        File::options().write(true).open(format!("/proc/{pid}/clear_refs")).map(Self)
    }

    /// Clears the bits of all pages and areas. What was written before can't be asked any more, so the
    /// process must stand still since that was read.
    ///
    /// # Errors
    /// ESRCH if it is gone.
    pub fn clear(&self) -> io::Result<()> {
        (&self.0).write_all(b"4")
    }
}

/// Whether they work here, tried once. That clears the bits of this process.
pub fn supported() -> bool {
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(|| try_them().unwrap_or(false))
}

fn try_them() -> io::Result<bool> {
    let pid = std::process::id().cast_signed();
    let (mut page, map) = (Page::map()?, Pagemap::open_plain(pid)?);
    let clear = ClearRefs::open(pid)?;
    let whole = [Run { start: page.address(), end: page.address() + PAGE }];
    let is_set = || -> io::Result<bool> { Ok(map.entries(&whole)?.written == whole) };
    page.write(1);
    let as_new = is_set()?;
    clear.clear()?;
    let as_cleared = is_set()?;
    page.write(2);
    Ok(as_new && !as_cleared && is_set()?)
}

/// A page of our own to try things on.
pub(crate) struct Page(*mut libc::c_void);

impl Page {
    pub(crate) fn map() -> io::Result<Self> {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever there is room.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE as usize, prot, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(at)) }
    }

    pub(crate) fn address(&self) -> u64 {
        self.0 as u64
    }

    fn write(&mut self, byte: u8) {
        // SAFETY: the page is ours, mapped for writing; volatile, since nobody reads what was written.
        unsafe { self.0.cast::<u8>().write_volatile(byte) };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and nobody keeps its address.
        unsafe { libc::munmap(self.0, PAGE as usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_them_is_no_error_whatever_the_kernel_has() {
        assert_eq!(try_them().unwrap(), supported());
    }
}
