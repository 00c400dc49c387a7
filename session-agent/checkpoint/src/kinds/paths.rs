//! Open files that have a path: finding it in the pod at capture, checking it at restore.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use roam_sys::batch::{Batch, Data};
use roam_sys::descriptor;

use super::build::Build;
use super::find_inode;
use super::gather::{Known, relative};
use super::open_file::{Look, Stop};
use crate::error::Error;

/// The flags that are given to open(2) again.
pub const REOPEN: i32 = libc::O_ACCMODE
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DIRECT
    | libc::O_DIRECTORY
    | libc::O_NOATIME
    | libc::O_PATH;

/// The flags with which a file is opened again that has these. A nameless file keeps the flags that made
/// it, O_DIRECTORY among them.
pub fn reopened(flags: i32) -> i32 {
    let nameless = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    flags & REOPEN & if nameless { !libc::O_DIRECTORY } else { !0 }
}

/// The path of the pod at which this very file is found: where it was opened, or another of its names.
///
/// # Errors
/// A refusal if there is none, or another file is there.
pub fn locate(look: &Look, known: &Known<'_>, remedy: &str) -> Result<Vec<u8>, Stop> {
    let first = first_name(look, known, remedy);
    if first.is_err() && look.file_type() != libc::S_IFDIR && look.stat.st_nlink > 0 {
        let found = find_inode::paths(&[look.inode().into()], known, find_inode::Effort::Thorough);
        if let Some(path) = found.into_iter().flatten().next() {
            return Ok(path);
        }
    }
    first
}

fn first_name(look: &Look, known: &Known<'_>, remedy: &str) -> Result<Vec<u8>, Stop> {
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

/// Where a file lay that has no name any more.
pub fn deleted(look: &Look) -> Option<&[u8]> {
    let path = look.link().strip_suffix(b" (deleted)")?;
    (look.stat.st_nlink == 0 && path.first() == Some(&b'/')).then_some(path)
}

/// Makes something under a name for a moment only: where it lay if the place is free, else in /tmp. `make`
/// adds the calls that make, open and remove it; each must succeed, and the first fails where the place
/// is taken.
///
/// # Errors
/// If it can be made nowhere.
pub fn make_nameless(
    id: super::open_file::FileId,
    path: &[u8],
    at: &mut Build<'_>,
    make: impl Fn(&mut Batch, Data),
) -> Result<(), Error> {
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let aside = [b"/tmp/.roam-", id.0.to_string().as_bytes(), b"-", &name[..name.len().min(200)]].concat();
    at.flush()?;
    let mut run = |place: &[u8]| {
        let mut batch = Batch::new();
        let path = batch.c_string(place);
        make(&mut batch, path);
        at.run(None, &batch).map(drop)
    };
    match run(path) {
        Err(Error::Call { .. }) => run(&aside),
        other => other,
    }
}

/// For what can't happen: an open file that was gathered and is not known.
pub fn lost() -> Stop {
    Stop::Failed(Error::Image("an open file was lost while it was captured".into()))
}

/// Opens a file of the tree below `root`, such as a pod's from outside, to look at it.
///
/// # Errors
/// As open(2).
pub fn open_in(root: &Path, path: &[u8], flags: i32) -> io::Result<std::fs::File> {
    let root =
        std::fs::File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(root)?;
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
    let flags = reopened(at.file(id)?.flags) | at.file(id)?.flags & libc::O_NOFOLLOW;
    at.open(path, flags, position, at.slot(id))
}
