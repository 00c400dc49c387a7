//! Open files that have a path: finding it in the pod at capture, checking it at restore.

use std::io;
use std::os::fd::AsFd;

use roam_sys::descriptor;

use super::build::Build;
use super::gather::{Known, relative};
use super::open_file::{Look, Stop};
use crate::error::Error;
use crate::pod::Pod;

/// The flags that are given to open(2) again.
pub const REOPEN: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_DIRECTORY
    | libc::O_NOATIME
    | libc::O_PATH;

/// The path of the pod at which this very file is found.
///
/// # Errors
/// A refusal if there is none, or another file is there.
pub fn locate(look: &Look, known: &Known<'_>, remedy: &str) -> Result<Vec<u8>, Stop> {
    let path = look.link();
    if path.first() != Some(&b'/') {
        return Err(Stop::cannot("it has no path", remedy));
    }
    let shown = String::from_utf8_lossy(path).into_owned();
    match known.stat_path(path) {
        Ok(stat) if (stat.st_dev, stat.st_ino) == look.inode() => Ok(path.to_vec()),
        Ok(_) => Err(Stop::cannot(format!("another file is at {shown} by now"), remedy)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            Err(Stop::cannot(format!("{shown} can't be found any more"), remedy))
        }
        Err(e) => Err(Stop::cannot(format!("{shown} can't be looked at: {e}"), remedy)),
    }
}

/// For what can't happen: an open file that was gathered and is not known.
pub fn lost() -> Stop {
    Stop::Failed(Error::Image("an open file was lost while it was captured".into()))
}

/// Opens a file of the pod from outside, to look at it.
///
/// # Errors
/// As open(2).
pub fn open_in(pod: &dyn Pod, path: &[u8], flags: i32) -> io::Result<std::fs::File> {
    let root = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(pod.root())?;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = flags | libc::O_NONBLOCK | libc::O_NOCTTY;
    Ok(descriptor::open_at(root.as_fd(), &relative(path)?, flags)?.into())
}

/// Opens the file at this path with the flags of the open file, at this position, into its slot.
///
/// # Errors
/// If earlier calls failed.
pub fn reopen(
    id: super::open_file::FileId,
    path: &[u8],
    position: i64,
    at: &mut Build<'_>,
) -> Result<(), Error> {
    // A path has no link at its end but with O_PATH, where the link itself was opened.
    let flags = at.file(id)?.flags & (REOPEN | libc::O_NOFOLLOW);
    at.open(path, flags, position, at.slot(id))
}
