//! Files that the kernel makes up when they are read: /proc, /sys. Opened again by their path.

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
const REMEDY: &str = "Try again: the process that it told about has ended.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        let link = look.link();
        (link.starts_with(b"/proc/") || link.starts_with(b"/sys/"))
            && descriptor::file_system(look.file.as_fd()).is_ok_and(|fs| FILE_SYSTEMS.contains(&fs))
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

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
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
}
