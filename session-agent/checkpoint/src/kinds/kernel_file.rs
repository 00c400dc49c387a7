//! Files that the kernel makes up when they are read: /proc, /sys. Opened again by their path.
//!
//! Refused: those about a thread that is not the first of its process: threads are made after the descriptors, which
//! they share.

use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
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
}

const FILE_SYSTEMS: [i64; 4] = [
    libc::PROC_SUPER_MAGIC,
    0x6265_6572, // sysfs
    libc::CGROUP2_SUPER_MAGIC,
    libc::DEBUGFS_MAGIC,
];
const ABOUT_A_THREAD: (&str, &str) = (
    "it tells about a thread that is not the first of its process",
    "Try again in a moment; if it stays so, let the program close it.",
);
const REMEDY: &str = "Try again: the process that it told about has ended.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        let link = look.link();
        (link.starts_with(b"/proc/") || link.starts_with(b"/sys/"))
            && descriptor::file_system(look.file.as_fd()).is_ok_and(|fs| FILE_SYSTEMS.contains(&fs))
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        path(look, known).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Ok(Self { path: path(look, &at.known)?, position: look.info.pos })
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

/// Its path, if there will be something at it while descriptors are made.
fn path(look: &Look, known: &Known<'_>) -> Result<Vec<u8>, Stop> {
    let path = paths::locate(look, known, REMEDY)?;
    let first = |number: i32| {
        let status = known.pod.root().join(format!("proc/{number}/status"));
        let text = std::fs::read_to_string(status).unwrap_or_default();
        // What has ended meanwhile was found a moment ago, and is not a thread's for that.
        text.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(number)
    };
    match numbers(&path) {
        Some((process, thread)) if first(process) != thread.unwrap_or(process) => {
            Err(Stop::cannot(ABOUT_A_THREAD.0, ABOUT_A_THREAD.1))
        }
        _ => Ok(path),
    }
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
