//! Extended attributes (xattr(7)): those that a user may give his files, whose names begin with `user.`, and others by
//! their name.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::descriptor::check;

/// The kernel's own limits: 64 KiB of names, and of a value.
const MOST: usize = 64 << 10;

/// The user's attributes of a file, with their values; none where the file system has no attributes.
/// A symbolic link has none.
///
/// # Errors
/// As llistxattr(2) and lgetxattr(2).
pub fn of_user(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a terminated string, and no buffer: the kernel only says how much there is.
    let length = check(unsafe { libc::llistxattr(path.as_ptr(), std::ptr::null_mut(), 0) } as libc::c_long);
    match length {
        Ok(0) => return Ok(Vec::new()),
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = vec![0u8; MOST];
    // SAFETY: a terminated string, and a buffer that is ours and as long as said.
    let n = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(check(n as libc::c_long)? as usize);
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = vec![0u8; MOST];
        let terminated = CString::new(name)?;
        // SAFETY: as above.
        let n = unsafe {
            let (value, length) = (value.as_mut_ptr().cast(), value.len());
            libc::lgetxattr(path.as_ptr(), terminated.as_ptr(), value, length)
        };
        value.truncate(check(n as libc::c_long)? as usize);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

/// One attribute of a file, or of what a symbolic link leads to; none if it has no such one.
///
/// # Errors
/// As getxattr(2).
pub fn get(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0u8; MOST];
    // SAFETY: terminated strings, and a buffer that is ours and as long as said.
    let n = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match check(n as libc::c_long) {
        Ok(n) => {
            value.truncate(n as usize);
            Ok(Some(value))
        }
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(e) => Err(e),
    }
}
