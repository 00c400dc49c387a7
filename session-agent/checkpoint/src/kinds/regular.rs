//! Regular files: found again by path; what is only read must have the same content.
//!
//! One that has lost its name but has another is found by that. Refused: a file none of whose names can be
//! found, because writes would go to the wrong place. Unlinked files are carried whole, by `memory_file`.

use std::os::fd::AsFd;

use roam_api::error::Refusal;
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::content::Content;
use crate::error::Error;
use crate::pod::Pod;

/// An open regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// The offset.
    pub position: i64,
    /// If it is open for reading only: what it must contain.
    pub content: Option<Content>,
}

const REMEDY: &str = "Save and close the file in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        match look.file_type() {
            libc::S_IFREG => true,
            // Links, sockets, FIFOs, devices: with O_PATH only the place counts.
            other => other != libc::S_IFDIR && look.is_place(),
        }
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        paths::locate(look, known, REMEDY)?;
        content(look).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let path = paths::locate(look, &at.known, REMEDY)?;
        Ok(Self { path, position: look.info.pos, content: content(look)? })
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

fn content(look: &Look) -> Result<Option<Content>, Stop> {
    if !look.reads() || look.writes() {
        return Ok(None);
    }
    let failed = |e| Error::system(format!("reading {}", String::from_utf8_lossy(look.link())), e);
    // Reading around the cache takes aligned buffers; another open file of it does not need them.
    let file = match look.info.flags & libc::O_DIRECT {
        0 => look.file.try_clone(),
        _ => descriptor::reopen(look.file.as_fd(), libc::O_RDONLY),
    };
    let file = file.map_err(failed)?;
    Ok(Some(Content::of(&file.into()).map_err(failed)?))
}

impl State {
    /// Whether the target has this file with this content; if not, why.
    pub(super) fn differs(&self, pod: &dyn Pod) -> Option<(String, String)> {
        let shown = String::from_utf8_lossy(&self.path);
        let flags = if self.content.is_some() { libc::O_RDONLY } else { libc::O_PATH | libc::O_NOFOLLOW };
        let file = match paths::open_in(pod, &self.path, flags) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Some((
                    format!("{shown} does not exist on this machine"),
                    "Install the same packages on both machines, or copy the file over.".into(),
                ));
            }
            Err(e) => {
                return Some((
                    format!("{shown} can't be opened on this machine: {e}"),
                    "Make it readable for you there, then try again.".into(),
                ));
            }
        };
        let wanted = self.content?;
        match Content::of(&file) {
            Ok(found) if found == wanted => None,
            Ok(_) => Some((
                format!("{shown} has another content on this machine"),
                "Bring both machines to the same version of the file or package.".into(),
            )),
            Err(e) => Some((
                format!("{shown} can't be read on this machine: {e}"),
                "Make it readable for you there, then try again.".into(),
            )),
        }
    }
}

/// Puts a refusal about a file of the image together.
pub(super) fn refusal(process: &str, pid: i32, number: i32, why: (String, String)) -> Refusal {
    Refusal {
        process: process.into(),
        pid: pid.unsigned_abs(),
        what: format!("descriptor {number}"),
        reason: why.0,
        remedy: why.1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::os::fd::AsFd;

    #[test]
    fn offsets_are_shared_by_duplicates_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let mut a = std::fs::File::open(&path).unwrap();
        a.seek(SeekFrom::Start(3)).unwrap();
        let duplicate = a.try_clone().unwrap();
        let other = std::fs::File::open(&path).unwrap();
        let mut session = Session::of(&[a.as_fd(), duplicate.as_fd(), other.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 2), b"34");
        assert_eq!(session.read(1, 2), b"56");
        assert_eq!(session.read(2, 2), b"01");
    }

    #[test]
    fn appending_goes_on_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = std::fs::File::options().append(true).create(true).open(&path).unwrap();
        log.write_all(b"one\n").unwrap();
        let mut session = Session::of(&[log.as_fd()]);
        session.round_trip();
        std::fs::write(&path, b"elsewhere\n").unwrap();
        session.write(0, b"two\n");
        let mut text = String::new();
        std::fs::File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "elsewhere\ntwo\n");
    }

    #[test]
    fn places_of_any_kind_come_back() {
        use roam_sys::descriptor;
        let dir = tempfile::tempdir().unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600))
            .unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let top = std::fs::File::open(dir.path()).unwrap();
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let [fifo, link] = [c"fifo", c"link"].map(|n| descriptor::open_at(top.as_fd(), n, flags).unwrap());
        let tree = descriptor::open_at(top.as_fd(), c".", libc::O_PATH | libc::O_DIRECTORY).unwrap();
        Session::of(&[fifo.as_fd(), link.as_fd(), tree.as_fd()]).round_trip();
    }

    #[test]
    fn a_file_that_differs_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, b"as it was").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let mut session = Session::of(&[file.as_fd()]);
        std::fs::write(&path, b"as it is.").unwrap();
        let refused = session.restore_error();
        assert!(refused.contains("data has another content"), "{refused}");
        std::fs::remove_file(&path).unwrap();
        let refused = session.restore_error();
        assert!(refused.contains("data does not exist on this machine"), "{refused}");
    }

    #[test]
    fn a_file_is_found_by_its_other_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        std::fs::write(&path, b"x").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let other = dir.path().join("other name");
        std::fs::hard_link(&path, &other).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut session = Session::of(&[file.as_fd()]);
        session.round_trip();
        session.write(0, b"yz");
        assert_eq!(std::fs::read(&other).unwrap(), b"yz");
    }
}
