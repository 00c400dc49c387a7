//! Locks on files: flock(2), and fcntl(2)'s of processes and of open files; leases (F_SETLEASE).
//!
//! Whose they are changes hands while the session stands still at both ends, before the commit. The target
//! takes them when all else is built. Where both machines see the same folder the source still has them: it
//! is asked, gives them back ([`crate::Frozen::give_locks`]) and takes them again if the move is undone.
//! A session never runs without a lock that it held.
//!
//! Who opens a file breaks the leases on it, so the source gives them back before the target opens any. A lease is
//! there to be broken: where it can't be had again, its owner is told as if somebody had opened the file and it had
//! not answered in time. Where both machines see one file, a lease for writing never can, since the source still has
//! the file open.
//!
//! Refused: a lease that is just being broken.

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use roam_sys::procfs::fdinfo::{Lock, LockKind};
use serde::{Deserialize, Serialize};

use super::descriptors::Descriptors;
use super::open_file::{FileId, Kind, Stop};
use crate::error::TRY_AGAIN;

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
    /// F_SETLEASE: the open file, for all of it. Who breaks it causes this signal; 0 is SIGIO without details.
    Lease {
        /// F_SETSIG.
        signal: i32,
    },
}

impl Held {
    /// From what fdinfo shows.
    ///
    /// # Errors
    /// A refusal of a lease that is being broken, and of what is unknown.
    pub fn of(lock: &Lock) -> Result<Self, Stop> {
        let owner = match lock.kind {
            LockKind::Flock => Owner::Flock,
            LockKind::OpenFile => Owner::OpenFile,
            LockKind::Posix => Owner::Process,
            LockKind::Lease => Owner::Lease { signal: 0 },
            LockKind::BreakingLease => {
                return Err(Stop::cannot(
                    "its lease on the file is being broken: another program waits to open it",
                    TRY_AGAIN,
                ));
            }
            LockKind::Other => {
                return Err(Stop::cannot(
                    "it holds a lock of an unknown kind on the file",
                    "Close the file in the program, then try again.",
                ));
            }
        };
        let len = lock.end.map_or(0, |end| end.saturating_sub(lock.start).saturating_add(1));
        Ok(Self { owner, write: lock.write, start: lock.start, len })
    }

    /// Whether its owner can be told that it is lost.
    #[must_use]
    pub fn is_lease(&self) -> bool {
        matches!(self.owner, Owner::Lease { .. })
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
        let kind = match (take, self.write) {
            (false, _) => libc::F_UNLCK,
            (true, true) => libc::F_WRLCK,
            (true, false) => libc::F_RDLCK,
        };
        if self.is_lease() {
            let args = [number.into(), libc::F_SETLEASE.into(), kind.into()];
            return batch.may("taking a lease", libc::SYS_fcntl, &args);
        }
        // struct flock: type, whence, start, length, pid.
        let mut bytes = vec![0; 32];
        bytes[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_ne_bytes());
        let data = batch.data(&bytes);
        let command = if self.owner == Owner::Process { libc::F_SETLK } else { libc::F_OFD_SETLK };
        batch.may("locking a file", libc::SYS_fcntl, &[number.into(), command.into(), data.into()])
    }
}

/// Adds the calls by which a process is told that it lost a lease, as lease_break in fs/locks.c tells it. No other
/// lock can be lost.
pub fn tell_lost(place: &Place, batch: &mut Batch) {
    const POLL_MSG: i32 = 3;
    const SI_KERNEL: i32 = 0x80;
    let Owner::Lease { signal } = place.held.owner else { return };
    // struct siginfo: signal, errno, code; band and descriptor from the 16th byte on.
    let mut info = [0u8; 128];
    let number = if signal == 0 { libc::SIGIO } else { signal };
    info[..4].copy_from_slice(&number.to_ne_bytes());
    let code = if signal == 0 { SI_KERNEL } else { POLL_MSG };
    info[8..12].copy_from_slice(&code.to_ne_bytes());
    if signal != 0 {
        let band = i64::from(libc::POLLIN | libc::POLLRDNORM | 0x400);
        info[16..24].copy_from_slice(&band.to_ne_bytes());
        info[24..28].copy_from_slice(&place.number.to_ne_bytes());
    }
    let me = batch.may("telling of a lost lease", libc::SYS_getpid, &[]);
    let info = batch.data(&info);
    batch.may("telling of a lost lease", libc::SYS_rt_sigqueueinfo, &[me.into(), number.into(), info.into()]);
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
        let owner = file.owner.and_then(|owner| place_in(image, FileId(index as u32), owner.id));
        file.locks.iter().filter_map(move |&held| {
            let place = if held.is_lease() { owner.or(place) } else { place };
            place.map(|(pid, number)| Place { pid, number, held })
        })
    });
    let of_processes = image
        .tables
        .iter()
        .flat_map(|table| table.locks.iter().map(|&(number, held)| Place { pid: table.pid, number, held }));
    of_files.chain(of_processes).collect()
}

/// Whether any of an image's locks is a lease.
#[must_use]
pub fn any_lease(image: &Descriptors) -> bool {
    image.files.iter().flat_map(|file| &file.locks).any(Held::is_lease)
}

/// This process and its descriptor of this open file, if it has one.
fn place_in(image: &Descriptors, file: FileId, pid: i32) -> Option<(i32, i32)> {
    let table = image.tables.iter().find(|table| table.pid == pid)?;
    table.entries.iter().find(|entry| entry.file == file).map(|entry| (pid, entry.number))
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
    fn leases_are_held_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let leased = std::fs::File::open(file.path()).unwrap();
        let path = file.into_temp_path();
        let lease = |file: &std::fs::File, kind: i32| {
            roam_sys::descriptor::fcntl(file.as_fd(), libc::F_SETLEASE, kind)
        };
        lease(&leased, libc::F_RDLCK).unwrap();
        let mut session = Session::of(&[leased.as_fd()]);
        session.end_source();
        drop(leased);
        let open = || {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&path)
        };
        drop(open().unwrap());
        session.restore().unwrap();
        assert_eq!(open().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

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
