//! Open directories, with their reading position; also deleted ones.
//!
//! Refused, for a moment only: a folder of the session's own that is half read. What is made anew there comes
//! in another order, so a position would mean something else.

use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::{Build, place};
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::{Error, TRY_AGAIN};
use crate::pod::Pod;

/// An open directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// The position of readdir(3).
    pub position: i64,
    /// It was deleted, and had these permission bits.
    pub deleted: Option<u32>,
}

/// The position behind the last entry, whatever entries there are.
const END: i64 = i32::MAX as i64;

const REMEDY: &str = "Leave the folder in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFDIR
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        state(look, known).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        state(look, &at.known)
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let Some(mode) = self.deleted else { return paths::reopen(id, &self.path, self.position, at) };
        let flags = paths::reopened(at.file(id)?.flags) | libc::O_CLOEXEC;
        let slot = at.slot(id);
        paths::make_nameless(id, &self.path, at, |batch, path| {
            batch.must("making a folder", libc::SYS_mkdir, &[path.into(), 0o700.into()]);
            let open = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0u32.into()];
            let fd = batch.must("opening a folder", libc::SYS_openat, &open);
            place(batch, fd, slot);
            batch.must("setting permissions", libc::SYS_chmod, &[path.into(), mode.into()]);
            batch.must("deleting a folder", libc::SYS_rmdir, &[path.into()]);
        })
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn state(look: &Look, known: &Known<'_>) -> Result<State, Stop> {
    if let Some(path) = paths::deleted(look) {
        return Ok(State { path: path.to_vec(), position: 0, deleted: Some(look.stat.st_mode & 0o7777) });
    }
    let path = paths::locate(look, known, REMEDY)?;
    let mut position = look.info.pos;
    let failed = |e| Error::system(format!("looking at {}", String::from_utf8_lossy(&path)), e);
    if position != 0
        && !look.is_place()
        && descriptor::file_system(look.file.as_fd()).map_err(failed)? == libc::TMPFS_MAGIC
    {
        if !descriptor::folder_ends_at(look.file.as_fd(), position).map_err(failed)? {
            return Err(Stop::cannot("the folder is half read", TRY_AGAIN));
        }
        position = END;
    }
    Ok(State { path, position, deleted: None })
}

impl State {
    /// Whether the target has this folder; if not, why.
    pub(super) fn differs(&self, pod: &dyn Pod) -> Option<(String, String)> {
        if self.deleted.is_some() {
            return None;
        }
        let error = paths::open_in(pod, &self.path, libc::O_PATH | libc::O_DIRECTORY).err()?;
        Some((
            format!(
                "the folder {} can't be opened on this machine: {error}",
                String::from_utf8_lossy(&self.path)
            ),
            "Make the folder there, then try again.".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::os::fd::AsFd;

    #[test]
    fn a_folder_is_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(dir.path()).unwrap();
        let mut session = Session::of(&[open.as_fd()]);
        session.round_trip();
    }

    #[test]
    fn a_deleted_folder_is_open_and_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        std::fs::create_dir(&path).unwrap();
        let open = std::fs::File::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        Session::of(&[open.as_fd()]).round_trip();
        assert!(!path.exists());
    }
}
