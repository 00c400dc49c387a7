//! Locks on files: flock(2), and fcntl(2)'s of processes and of open files.
//!
//! They are taken without waiting: where source and target see the same folder, the frozen source may
//! hold them still, and then the lock is left to whoever has it. Leases are refused.

use roam_sys::batch::Batch;
use roam_sys::procfs::fdinfo::{Lock, LockKind};
use serde::{Deserialize, Serialize};

use super::open_file::Stop;

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

    /// Takes it through this descriptor.
    pub fn take(&self, number: i32, batch: &mut Batch) {
        if self.owner == Owner::Flock {
            let how = if self.write { libc::LOCK_EX } else { libc::LOCK_SH } | libc::LOCK_NB;
            batch.may("flock", libc::SYS_flock, &[number.into(), how.into()]);
            return;
        }
        // struct flock: type, whence, start, length, pid.
        let kind = if self.write { libc::F_WRLCK } else { libc::F_RDLCK };
        let mut bytes = vec![0; 32];
        bytes[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_ne_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_ne_bytes());
        let data = batch.data(&bytes);
        let command = if self.owner == Owner::Process { libc::F_SETLK } else { libc::F_OFD_SETLK };
        batch.may("locking a file", libc::SYS_fcntl, &[number.into(), command.into(), data.into()]);
    }
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
