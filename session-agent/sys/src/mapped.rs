//! How the kernel names a file in /proc/PID/maps.
//!
//! On file systems made of others (overlayfs, btrfs subvolumes) device and inode differ there from what
//! stat(2) says. A mapping of our own, made for the moment, shows what they are.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::procfs::maps;

/// Device and inode that every mapping of this file shows in /proc/PID/maps.
///
/// # Errors
/// ENODEV for a file that can't be mapped, EACCES for one that is not open for reading.
pub fn identity(file: &File) -> io::Result<((u32, u32), u64)> {
    const LEN: usize = 4096;
    // SAFETY: a new mapping at a place of the kernel's choice; nothing is read through it.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), LEN, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let at = address as u64;
    let areas = maps::read(std::process::id() as i32);
    // SAFETY: the mapping made above, which nobody else knows.
    unsafe { libc::munmap(address, LEN) };
    areas?
        .iter()
        .find(|area| (area.start..area.end).contains(&at))
        .map(|area| (area.device, area.inode))
        .ok_or_else(|| io::Error::other("a mapping just made is not in /proc/self/maps"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn every_file_has_its_own() {
        let (one, two) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        assert_eq!(identity(&one).unwrap(), identity(&one).unwrap());
        assert_ne!(identity(&one).unwrap(), identity(&two).unwrap());
        assert_eq!(identity(&one).unwrap().1, one.metadata().unwrap().ino());
    }
}
