//! Locks on files: flock(2), and fcntl(2)'s of processes and of open files.
//!
//! Whose they are changes hands while the session stands still at both ends, before the commit. The target
//! takes them when all else is built. Where both machines see the same folder the source still has them: it
//! is asked, gives them back ([`crate::Frozen::give_locks`]) and takes them again if the move is undone.
//! A session never runs without a lock that it held. Leases are refused.

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use roam_sys::procfs::fdinfo::{Lock, LockKind};
use serde::{Deserialize, Serialize};

use super::descriptors::Descriptors;
use super::open_file::{FileId, Kind, Stop};

/// A lock that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whose it is.
    pub owner: Owner,
    /// Exclusive, not shared.
    pub write: bool,
    /// First byte.
    pub start: i64,
    /// How many; 0 is up to the end, however far.
    pub len: i64,
}

/// The owner of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// flock: the open file, for all of it.
    Flock,
    /// fcntl: the open file.
    OpenFile,
    /// fcntl: the process.
    Process,
}

impl Held {
    /// From what fdinfo shows.
    ///
    /// # Errors
    /// A refusal of leases.
    pub fn of(lock: &Lock) -> Result<Self, Stop> {
        let owner = match lock.kind {
            LockKind::Flock => Owner::Flock,
            LockKind::OpenFile => Owner::OpenFile,
            LockKind::Posix => Owner::Process,
            LockKind::Other => {
                return Err(Stop::cannot(
                    "it holds a lease on the file",
                    "Close the file in the program, then try again.",
                ));
            }
        };
        let len = lock.end.map_or(0, |end| end.saturating_sub(lock.start).saturating_add(1));
        Ok(Self { owner, write: lock.write, start: lock.start, len })
    }

    /// Takes it through this descriptor, without waiting, or gives it back.
    pub fn set(&self, take: bool, number: i32, batch: &mut Batch) -> RetOf {
        if self.owner == Owner::Flock {
            let how = match (take, self.write) {
                (false, _) => libc::LOCK_UN,
                (true, true) => libc::LOCK_EX,
                (true, false) => libc::LOCK_SH,
            };
            let args = [number.into(), (how | libc::LOCK_NB).into()];
            return batch.may("locking a file", libc::SYS_flock, &args);
        }
        // struct flock: type, whence, start, length, pid.
        let kind = match (take, self.write) {
            (false, _) => libc::F_UNLCK,
            (true, true) => libc::F_WRLCK,
            (true, false) => libc::F_RDLCK,
        };
        let mut bytes = vec![0; 32];
        bytes[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_ne_bytes());
        let data = batch.data(&bytes);
        let command = if self.owner == Owner::Process { libc::F_SETLK } else { libc::F_OFD_SETLK };
        batch.may("locking a file", libc::SYS_fcntl, &[number.into(), command.into(), data.into()])
    }
}

/// A lock, and by whom it can be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The process, as the pod counts: the owner, or one that has the open file.
    pub pid: i32,
    /// Its descriptor.
    pub number: i32,
    /// The lock.
    pub held: Held,
}

/// Every lock of an image. Those of open files that are only in flight are not among them.
#[must_use]
pub fn all(image: &Descriptors) -> Vec<Place> {
    let of_files = image.files.iter().enumerate().flat_map(|(index, file)| {
        let place = place_of(image, FileId(index as u32));
        file.locks.iter().filter_map(move |&held| place.map(|(pid, number)| Place { pid, number, held }))
    });
    let of_processes = image
        .tables
        .iter()
        .flat_map(|table| table.locks.iter().map(|&(number, held)| Place { pid: table.pid, number, held }));
    of_files.chain(of_processes).collect()
}

/// A process that has this open file, and its descriptor.
#[must_use]
pub fn place_of(image: &Descriptors, file: FileId) -> Option<(i32, i32)> {
    image.tables.iter().find_map(|table| {
        table.entries.iter().find(|entry| entry.file == file).map(|entry| (table.pid, entry.number))
    })
}

/// Says that others have these.
#[must_use]
pub fn refusals(image: &Descriptors, taken: &[Place]) -> Vec<Refusal> {
    let refusal = |place: &Place| {
        let table = image.tables.iter().find(|table| table.pid == place.pid);
        let entry = table.and_then(|t| t.entries.iter().find(|entry| entry.number == place.number));
        let path = entry.and_then(|e| image.files.get(e.file.0 as usize)).and_then(|file| match &file.kind {
            Kind::Regular(state) => Some(String::from_utf8_lossy(&state.path).into_owned()),
            _ => None,
        });
        Refusal {
            process: table.map(|t| t.name.clone()).unwrap_or_default(),
            pid: place.pid.unsigned_abs(),
            what: format!("descriptor {} ({})", place.number, path.as_deref().unwrap_or("a file")),
            reason: "another process holds the lock that this one had on the file".into(),
            remedy: "Close the other program there, then try again.".into(),
        }
    };
    taken.iter().map(refusal).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::os::fd::AsFd;

    #[test]
    fn locks_of_open_files_are_held_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || std::fs::File::options().read(true).write(true).open(file.path()).unwrap();
        let (locked, part, other) = (open(), open(), open());
        locked.lock().unwrap();
        let range =
            libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 10, l_len: 5, l_pid: 0 };
        nix::fcntl::fcntl(&part, nix::fcntl::FcntlArg::F_OFD_SETLK(&range)).unwrap();
        let mut session = Session::of(&[locked.as_fd(), part.as_fd()]);
        session.end_source();
        drop((locked, part));
        assert!(other.try_lock().is_ok());
        other.unlock().unwrap();
        session.round_trip();
        assert!(other.try_lock().is_err());
        let mut range = libc::flock { l_start: 12, l_len: 1, ..range };
        assert!(nix::fcntl::fcntl(&other, nix::fcntl::FcntlArg::F_OFD_SETLK(&range)).is_err());
        range.l_start = 20;
        nix::fcntl::fcntl(&other, nix::fcntl::FcntlArg::F_OFD_SETLK(&range)).unwrap();
    }
}
