//! Open directories, with how far they are read; also deleted ones.
//!
//! A position in a folder (`d_off`) means something to its own file system only. So the names that were read are
//! carried, as their number and a hash: where the folder begins with the same names in the same order, reading goes on
//! behind them, and what is left is exactly what had not been read. The beginning and the end are so everywhere.
//!
//! Refused, for a moment only: a folder that is half read and whose names come in another order at the target; one of
//! the session's own, which is made anew and so always is that; one of very many names.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::{Build, place};
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use super::wants::Is;
use crate::content;
use crate::error::{Error, TRY_AGAIN};

/// An open directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// How far it is read.
    pub read: Read,
    /// It was deleted, and had these permission bits.
    pub deleted: Option<u32>,
}

/// How far a folder is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// Nothing of it.
    Start,
    /// So many entries, whose names have this hash.
    Behind(u32, [u8; 32]),
    /// All of it.
    End,
}

/// In memory, the position behind the last entry, whatever entries there are, also those that are still to be made.
const END: i64 = i32::MAX as i64;
/// Of a folder that is half read so many entries are compared.
const MOST: usize = 1 << 16;

const REMEDY: &str = "Leave the folder in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFDIR
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        let state = state(look, known)?;
        if state.deleted.is_none() && content::has_settled(look.stat.st_ctime) {
            known.want(look, state.path, Is::OpenFolder);
        }
        Ok(())
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        state(look, &at.known)
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let Some(mode) = self.deleted else {
            let position = match self.position(&at.pod.root()) {
                Ok(Some(position)) => position,
                Ok(None) => return Err(Error::Image("a folder changed while it was opened".into())),
                Err(e) => return Err(Error::system("looking at a folder", e)),
            };
            return paths::reopen(id, &self.path, position, at);
        };
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
        return Ok(State {
            path: path.to_vec(),
            read: Read::Start,
            deleted: Some(look.stat.st_mode & 0o7777),
        });
    }
    let path = paths::locate(look, known, REMEDY)?;
    let read = if look.is_place() { Read::Start } else { read(look)? };
    Ok(State { path, read, deleted: None })
}

fn read(look: &Look) -> Result<Read, Stop> {
    let position = look.info.pos;
    if position == 0 {
        return Ok(Read::Start);
    }
    let half_read = || Stop::cannot("the folder is half read", TRY_AGAIN);
    let failed = |e| Error::system("looking at a folder that is half read", e);
    let (rest, all) = (names(look.file.as_fd(), position), names(look.file.as_fd(), 0));
    let (rest, all) = (rest.map_err(failed)?, all.map_err(failed)?);
    if rest.is_empty() {
        return Ok(Read::End);
    }
    let in_memory = descriptor::file_system(look.file.as_fd()).map_err(failed)? == libc::TMPFS_MAGIC;
    // What is left must be the end of all: then what comes before it is what was read.
    let Some(first) = all.strip_suffix(&rest[..]).filter(|_| !in_memory && all.len() <= MOST) else {
        return Err(half_read());
    };
    Ok(if first.is_empty() { Read::Start } else { Read::Behind(first.len() as u32, hash(first)) })
}

/// The names of a folder behind a position; one more than [`MOST`] at most.
fn names(folder: BorrowedFd<'_>, position: i64) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    descriptor::folder_entries(folder, position, &mut |name, _| {
        names.push(name.to_vec());
        names.len() <= MOST
    })?;
    Ok(names)
}

fn hash(names: &[Vec<u8>]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        // No name has a zero or is empty.
        hasher.update(name).update(&[0]);
    }
    *hasher.finalize().as_bytes()
}

impl State {
    /// Whether the target has this folder, and its names as they were read; if not, why.
    pub(super) fn differs(&self, root: &Path) -> Option<(String, String)> {
        if self.deleted.is_some() {
            return None;
        }
        let name = String::from_utf8_lossy(&self.path);
        lacks(root, &self.path).or_else(|| match self.position(root) {
            Ok(Some(_)) => None,
            Ok(None) => Some((
                format!(
                    "the folder {name} is half read, and its files come in another order on this machine"
                ),
                format!("{TRY_AGAIN} It can go when the program has read the folder."),
            )),
            Err(e) => Some((
                format!("the folder {name} is half read, and can't be read on this machine: {e}"),
                "Make it readable for you there, then try again.".into(),
            )),
        })
    }

    /// Where reading goes on in the folder below `root`; none if its names don't begin as those that were read.
    fn position(&self, root: &Path) -> io::Result<Option<i64>> {
        if self.read == Read::Start {
            return Ok(Some(0));
        }
        let folder = paths::open_in(root, &self.path, libc::O_PATH | libc::O_DIRECTORY)?;
        let folder = folder.as_fd();
        let mut position = 0;
        match self.read {
            Read::Start => {}
            Read::End if descriptor::file_system(folder)? == libc::TMPFS_MAGIC => position = END,
            Read::End => descriptor::folder_entries(folder, 0, &mut |_, behind| {
                position = behind;
                true
            })?,
            Read::Behind(count, wanted) => {
                let mut first = Vec::new();
                descriptor::folder_entries(folder, 0, &mut |name, behind| {
                    first.push(name.to_vec());
                    position = behind;
                    first.len() < count as usize
                })?;
                if first.len() != count as usize || hash(&first) != wanted {
                    return Ok(None);
                }
            }
        }
        Ok(Some(position))
    }
}

/// Whether a machine lacks a folder below `root`; if so, why, and what to do.
pub(super) fn lacks(root: &Path, path: &[u8]) -> Option<(String, String)> {
    let error = paths::open_in(root, path, libc::O_PATH | libc::O_DIRECTORY).err()?;
    let name = String::from_utf8_lossy(path);
    Some((
        format!("the folder {name} can't be opened on this machine: {error}"),
        "Make the folder there, then try again.".into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use roam_sys::batch::Batch;
    use roam_sys::descriptor;
    use std::collections::BTreeSet;
    use std::io::{Seek, SeekFrom};
    use std::os::fd::AsFd;
    use std::path::Path;

    fn parse(bytes: &[u8]) -> Vec<String> {
        let (mut names, mut at) = (Vec::new(), 0);
        while at + 19 < bytes.len() {
            let name = bytes[at + 19..].split(|b| *b == 0).next().unwrap();
            names.push(String::from_utf8_lossy(name).into_owned());
            at += usize::from(u16::from_ne_bytes([bytes[at + 16], bytes[at + 17]]));
        }
        names
    }

    /// The first names of a folder, which it is behind of then.
    fn read_some(mut folder: &std::fs::File) -> Vec<String> {
        let (mut names, mut position) = (Vec::new(), 0);
        descriptor::folder_entries(folder.as_fd(), 0, &mut |name, behind| {
            names.push(String::from_utf8_lossy(name).into_owned());
            position = behind;
            names.len() < 50
        })
        .unwrap();
        folder.seek(SeekFrom::Start(position as u64)).unwrap();
        names
    }

    /// The rest of them, read by the first of the new processes.
    fn read_there(session: &mut Session) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let mut batch = Batch::new();
            let room = batch.room(2048);
            let n = batch.must("read", libc::SYS_getdents64, &[0u32.into(), room.into(), 2048u32.into()]);
            let done = session.run(0, &batch);
            let names = parse(&done.bytes(room)[..done.ret(n) as usize]);
            if names.is_empty() {
                return all;
            }
            all.extend(names);
        }
    }

    fn fill(folder: &Path) {
        for i in 0..200 {
            std::fs::write(folder.join(format!("name {i}")), "").unwrap();
        }
    }

    #[test]
    fn the_rest_of_a_half_read_folder_is_what_was_not_read() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fill(dir.path());
        let folder = std::fs::File::open(dir.path()).unwrap();
        let mut seen = read_some(&folder);
        // Names that were read and are gone are not missed.
        for name in seen.iter().filter(|name| name.ends_with('7')) {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        let mut session = Session::of(&[folder.as_fd()]);
        session.round_trip();
        seen.extend(read_there(&mut session));
        assert_eq!(seen.len(), 202, "200 names and two dots");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 202, "none comes twice");
        // All of it was read.
        let mut end = 0;
        descriptor::folder_entries(folder.as_fd(), 0, &mut |_, behind| {
            end = behind;
            true
        })
        .unwrap();
        (&folder).seek(SeekFrom::Start(end as u64)).unwrap();
        let mut session = Session::of(&[folder.as_fd()]);
        session.round_trip();
        assert_eq!(read_there(&mut session), [""; 0]);
    }

    #[test]
    fn a_half_read_folder_with_other_names_is_refused() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        fill(dir.path());
        let folder = std::fs::File::open(dir.path()).unwrap();
        let seen = read_some(&folder);
        let mut session = Session::of(&[folder.as_fd()]);
        let read = seen.iter().find(|name| !name.starts_with('.')).unwrap();
        std::fs::remove_file(dir.path().join(read)).unwrap();
        let refused = session.restore_error();
        assert!(
            refused.contains("descriptor 0: the folder") && refused.contains("another order"),
            "{refused}"
        );
    }

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
