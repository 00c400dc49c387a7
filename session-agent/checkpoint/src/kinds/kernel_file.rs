//! Files that the kernel makes up when they are read: /proc, /sys. Opened again by their path.
//!
//! Those that are about a thread that is not the first of its process are made late ([`super::late`]).

use std::os::fd::AsFd;

use roam_sys::batch::{Batch, RetOf};
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::late;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::Error;

/// An open file of /proc or /sys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// The offset.
    pub position: i64,
    /// It is about a thread that is made after the descriptors.
    pub late: bool,
}

const FILE_SYSTEMS: [i64; 4] = [
    libc::PROC_SUPER_MAGIC,
    0x6265_6572, // sysfs
    libc::CGROUP2_SUPER_MAGIC,
    libc::DEBUGFS_MAGIC,
];
const REMEDY: &str = "Try again: the process that it told about has ended.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        let link = look.link();
        (link.starts_with(b"/proc/") || link.starts_with(b"/sys/"))
            && descriptor::file_system(look.file.as_fd()).is_ok_and(|fs| FILE_SYSTEMS.contains(&fs))
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        paths::locate(look, known, REMEDY)?;
        if is_of_thread(look, known) { late::check(look, known) } else { Ok(()) }
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Self::check(look, &at.known)?;
        let path = paths::locate(look, &at.known, REMEDY)?;
        Ok(Self { path, position: look.info.pos, late: is_of_thread(look, &at.known) })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        if self.late {
            return late::stand_in(id, at);
        }
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
    /// Adds the calls that open it with these flags, at its position.
    pub(super) fn open(&self, flags: i32, batch: &mut Batch) -> RetOf {
        let path = batch.c_string(&self.path);
        let how = paths::reopened(flags) | flags & libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY;
        let args = [libc::AT_FDCWD.into(), path.into(), how.into(), 0u32.into()];
        let opened = batch.must("opening a file that is about a thread", libc::SYS_openat, &args);
        if self.position != 0 && flags & libc::O_PATH == 0 {
            let seek = [opened.into(), self.position.into(), libc::SEEK_SET.into()];
            batch.must("setting a file position", libc::SYS_lseek, &seek);
        }
        opened
    }
}

/// Whether this is a file of /proc about a thread that is not the first of its process.
pub(super) fn is_of_thread(look: &Look, known: &Known<'_>) -> bool {
    if !matches!(look.file_type(), libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK) || !State::matches(look) {
        return false;
    }
    let first = |number: i32| {
        let status = known.pod.root().join(format!("proc/{number}/status"));
        let text = std::fs::read_to_string(status).unwrap_or_default();
        // Of what has ended meanwhile nothing is known; its files are refused by their path.
        text.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(number)
    };
    numbers(look.link()).is_some_and(|(process, thread)| first(process) != thread.unwrap_or(process))
}

/// Of which process in /proc a path tells, and of which of its threads.
fn numbers(path: &[u8]) -> Option<(i32, Option<i32>)> {
    let mut parts = std::str::from_utf8(path).ok()?.strip_prefix("/proc/")?.split('/');
    let process = parts.next()?.parse().ok()?;
    let thread = parts.next().filter(|part| *part == "task").and_then(|_| parts.next()?.parse().ok());
    Some((process, thread))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::numbers;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn reading_goes_on_where_it_was() {
        let mut file = std::fs::File::open("/proc/version").unwrap();
        file.read_exact(&mut [0; 6]).unwrap();
        let mut session = Session::of(&[file.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 8), b"version ");
    }

    #[test]
    fn paths_tell_of_whom_they_are() {
        assert_eq!(numbers(b"/proc/71/status"), Some((71, None)));
        assert_eq!(numbers(b"/proc/71/task/72/comm"), Some((71, Some(72))));
        assert_eq!(numbers(b"/proc/71/task"), Some((71, None)));
        assert_eq!(numbers(b"/proc/71"), Some((71, None)));
        assert_eq!(numbers(b"/proc/71/fd/5"), Some((71, None)));
        assert_eq!(numbers(b"/proc/version"), None);
        assert_eq!(numbers(b"/sys/71/status"), None);
    }
}
