//! Open directories, with their reading position.

use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::Error;
use crate::pod::Pod;

/// An open directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// The position of readdir(3).
    pub position: i64,
}

const REMEDY: &str = "Leave the folder in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFDIR
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        paths::locate(look, known, REMEDY).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Ok(Self { path: paths::locate(look, &at.known, REMEDY)?, position: look.info.pos })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        paths::reopen(id, &self.path, self.position, at)
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

impl State {
    /// Whether the target has this folder; if not, why.
    pub(super) fn differs(&self, pod: &dyn Pod) -> Option<(String, String)> {
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
}
