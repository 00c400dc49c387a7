//! Regular files: found again by path; what is only read must have the same content, what is written must be as the
//! program left it.
//!
//! A program goes on writing at its offset, into what it takes for its own file. So the target must have that file and
//! no older copy: its size and a sample of its content ([`Sample`]) are compared when the session stands still. A file
//! that is opened to append has no offset to go wrong, and others may append to it as well (a log): it may have become
//! longer, but what was there must be there. A session that wakes where it fell asleep finds its own files: what others did
//! to one meanwhile, such as a log that was begun anew, it finds as a program would that was stopped for so long. To be
//! refused for ever because of that would lose more.
//!
//! What is on a file server is written there first, since another machine would read an older state.
//!
//! Nobody opens a file here for reading on which the session has a lease for writing, which that would break: it is read
//! through the session's own descriptor, or only its size is compared. So it is with files that can't be read.
//! Files of the pod's own folders come along, and nothing is compared.
//!
//! One that has lost its name but has another is found by that. Refused: a file none of whose names can be
//! found, because writes would go to the wrong place; files that differ at the target. Unlinked files are carried whole,
//! by `memory_file`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use roam_api::error::Refusal;
use roam_sys::descriptor;
use roam_sys::procfs::fdinfo::LockKind;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use super::wants::Is;
use crate::content::{self, Content, Sample};
use crate::error::Error;

/// An open regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// The offset.
    pub position: i64,
    /// What must be there.
    pub expected: Expected,
}

/// What must be at a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Anything: only the place counts (O_PATH), or it comes along.
    Anything,
    /// What the program only reads.
    Same(Content),
    /// What it writes, as of now.
    AsLeft(Sample),
    /// What it appends to: this, and maybe more.
    Begun(Sample),
    /// A file, whatever is in it.
    There,
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
        let path = paths::locate(look, known, REMEDY)?;
        // What is looked at and written here is soon done once more while the session stands still.
        let expected = expected(look)?;
        if content::has_settled(look.stat.st_ctime) {
            let is_read = matches!(expected, Expected::Same(_)) && look.info.locks.is_empty();
            known.want(look, path, Is::File(if is_read { expected } else { Expected::Anything }));
        }
        Ok(())
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let path = paths::locate(look, &at.known, REMEDY)?;
        let (device, inode) = look.inode();
        let comes_along = look.writes() && at.objects.carries_file(device, inode);
        let expected = if comes_along { Expected::Anything } else { expected(look)? };
        Ok(Self { path, position: look.info.pos, expected })
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

fn expected(look: &Look) -> Result<Expected, Stop> {
    if look.is_place() {
        return Ok(Expected::Anything);
    }
    let name = || String::from_utf8_lossy(look.link()).into_owned();
    let failed = |e| Error::system(format!("reading {}", name()), e);
    // Reading around the cache takes aligned buffers; another open file of it does not need them.
    let own = look.reads() && look.info.flags & libc::O_DIRECT == 0;
    let again = || descriptor::reopen(look.file.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK);
    if !look.writes() {
        let file = if own { look.file.try_clone() } else { again() };
        let content = file.and_then(|file| Content::of(&file.into()));
        return Ok(Expected::Same(content.map_err(failed)?));
    }
    let file = File::from(look.file.try_clone().map_err(failed)?);
    let leased = look.info.locks.iter().any(|lock| lock.kind == LockKind::Lease && lock.write);
    if !leased && content::is_shared(&file).map_err(failed)? {
        let again = |access| descriptor::reopen(look.file.as_fd(), access | libc::O_NONBLOCK);
        again(libc::O_RDONLY)
            .or_else(|_| again(libc::O_WRONLY))
            .and_then(|file| content::settle(&file.into()))
            .map_err(|e| {
                let why = format!("what was written into {} can't be put where it lies: {e}", name());
                Stop::cannot(why, REMEDY)
            })?;
    }
    let size = file.metadata().map_err(failed)?.len();
    let readable = match (own, leased) {
        (true, _) => Some(file),
        (false, true) => None,
        (false, false) => again().ok().map(File::from),
    };
    let sample = Sample::of(readable.as_ref(), size).map_err(failed)?;
    let appends = look.info.flags & libc::O_APPEND != 0;
    Ok(if appends { Expected::Begun(sample) } else { Expected::AsLeft(sample) })
}

/// Whether a machine lacks what is expected at this path below `root`; if so, why, and what to do.
pub(super) fn lacks(root: &Path, path: &[u8], expected: &Expected) -> Option<(String, String)> {
    let shown = String::from_utf8_lossy(path);
    let flags = match expected {
        Expected::Anything => libc::O_PATH | libc::O_NOFOLLOW,
        Expected::There => libc::O_PATH,
        Expected::AsLeft(Sample { hash: None, .. }) | Expected::Begun(Sample { hash: None, .. }) => {
            libc::O_PATH
        }
        _ => libc::O_RDONLY,
    };
    let file = match paths::open_in(root, path, flags) {
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
    match expected.is_in(&file) {
        Ok(true) => None,
        Ok(false) if matches!(expected, Expected::Same(_)) => Some(another(path)),
        Ok(false) if matches!(expected, Expected::There) => Some((
            format!("{shown}, into which it writes, is no file any more"),
            "Put a file there, then try again.".into(),
        )),
        Ok(false) => Some((
            format!("{shown}, into which it writes, is not as the program left it on this machine"),
            "Put the file there as the program left it (copy it over, or back), or close it in the program, then \
             try again."
                .into(),
        )),
        Err(e) => Some((
            format!("{shown} can't be read on this machine: {e}"),
            "Make it readable for you there, then try again.".into(),
        )),
    }
}

/// A file that is only read has another content.
pub(super) fn another(path: &[u8]) -> (String, String) {
    (
        format!("{} has another content on this machine", String::from_utf8_lossy(path)),
        "Bring both machines to the same version of the file or package.".into(),
    )
}

impl Expected {
    /// The same of a session that wakes where it fell asleep: there it is the program's own file.
    #[must_use]
    pub fn at_waking(self) -> Self {
        match self {
            Self::AsLeft(_) | Self::Begun(_) => Self::There,
            Self::Anything | Self::Same(_) | Self::There => self,
        }
    }

    fn is_in(&self, file: &File) -> std::io::Result<bool> {
        let (wanted, may_grow) = match self {
            Self::Anything => return Ok(true),
            Self::Same(content) => {
                let meta = file.metadata()?;
                let alike = meta.is_file() && meta.len() == content.size;
                return Ok(alike && Content::of(file)? == *content);
            }
            Self::There => return Ok(file.metadata()?.is_file()),
            Self::AsLeft(sample) => (sample, false),
            Self::Begun(sample) => (sample, true),
        };
        let meta = file.metadata()?;
        let fits = meta.len() == wanted.size || may_grow && meta.len() > wanted.size;
        if !meta.is_file() || !fits {
            return Ok(false);
        }
        Ok(Sample::of(wanted.hash.map(|_| file), wanted.size)? == *wanted)
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
    fn a_file_into_which_is_written_must_be_as_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        for readable in [true, false] {
            std::fs::write(&path, vec![7; 300_000]).unwrap();
            let mut file = std::fs::File::options().read(readable).write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(1000)).unwrap();
            let mut session = Session::of(&[file.as_fd()]);
            let mut refused = |content: &[u8]| {
                std::fs::write(&path, content).unwrap();
                session.restore().err().map(|e| e.to_string())
            };
            let (mut newer, mut end) = (vec![7; 300_000], vec![7; 300_000]);
            (newer[0], end[299_999]) = (8, 8);
            for other in [&newer, &end, &newer[..200_000], &vec![7; 300_001], &[]] {
                let words = refused(other).unwrap();
                assert!(words.contains("descriptor 0: ") && words.contains("data, into which"), "{words}");
            }
            assert_eq!(refused(&vec![7; 300_000]), None);
        }
    }

    #[test]
    fn a_log_may_grow_and_not_be_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, b"one\n").unwrap();
        let log = std::fs::File::options().append(true).open(&path).unwrap();
        let mut session = Session::of(&[log.as_fd()]);
        std::fs::write(&path, b"one\ntwo\n").unwrap();
        session.restore().unwrap();
        for other in ["", "on", "two\none\n"] {
            std::fs::write(&path, other).unwrap();
            assert!(session.restore_error().contains("log, into which"), "{other:?}");
        }
    }

    #[test]
    fn a_lease_is_not_broken_by_looking() {
        let dir = tempfile::tempdir().unwrap();
        for readable in [true, false] {
            let path = dir.path().join(readable.to_string());
            std::fs::write(&path, b"some").unwrap();
            let file = std::fs::File::options().read(readable).write(true).open(&path).unwrap();
            let fd = file.as_fd();
            // A process that another test is just starting may have the file open for a moment.
            while roam_sys::descriptor::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK).is_err() {
                std::thread::yield_now();
            }
            // Nobody is told by a signal, which would end all tests.
            roam_sys::descriptor::fcntl(fd, libc::F_SETOWN, 0).unwrap();
            let session = Session::of(&[fd]);
            let super::super::open_file::Kind::Regular(state) = &session.image().files[0].kind else {
                panic!("another kind")
            };
            let super::Expected::AsLeft(sample) = state.expected else { panic!("{state:?}") };
            assert_eq!((sample.size, sample.hash.is_some()), (4, readable));
            let lease = roam_sys::descriptor::fcntl(fd, libc::F_GETLEASE, 0).unwrap();
            assert_eq!(lease, libc::F_WRLCK);
        }
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
