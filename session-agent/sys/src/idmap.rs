//! Bind mounts that show a folder's owner under another uid (`mount_setattr`, Linux 5.12).
//!
//! Why: one folder can be the home of two users with different uids, as a file server's would be,
//! without changing an owner on disk. Needs the capability to mount; refuses with the kernel's
//! error, changing nothing.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mounts the tree at `source` on `target`, with owners translated by the map of the user
/// namespace `userns`: an "inside" id is what the disk holds, the "outside" id is what is seen.
///
/// # Errors
/// Whatever the kernel says; the half-made mount is dropped with its descriptor.
pub fn idmapped_bind(source: &Path, target: &Path, userns: BorrowedFd<'_>) -> io::Result<()> {
    let source = CString::new(source.as_os_str().as_bytes())?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: `source` is a NUL-terminated string that outlives the call; no memory is written.
    let tree = check(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as u32,
        )
    })?;
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    let tree = unsafe { OwnedFd::from_raw_fd(i32::try_from(tree).map_err(io::Error::other)?) };
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(userns.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: `attr` is a live mount_attr of exactly the size passed; the path is an empty string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    // SAFETY: both paths are NUL-terminated strings that outlive the call; no memory is written.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_missing_folder_is_an_error_of_the_kernel() {
        let userns = std::fs::File::open("/proc/self/ns/user").expect("own user namespace");
        let error = idmapped_bind(Path::new("/does/not/exist"), Path::new("/tmp"), userns.as_fd());
        assert!(error.is_err());
    }
}
