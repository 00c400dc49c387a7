//! Device nodes that every pod has: null, zero, full, random, urandom.
//!
//! Refused: all others, by name.

use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::Error;

/// An open device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Minor number below major 1.
    pub minor: u32,
}

/// Major number of the memory devices.
const MEMORY: u32 = 1;
const KNOWN: [(u32, &str); 5] =
    [(3, "/dev/null"), (5, "/dev/zero"), (7, "/dev/full"), (8, "/dev/random"), (9, "/dev/urandom")];

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        matches!(look.file_type(), libc::S_IFCHR | libc::S_IFBLK)
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        minor(look).map(drop)
    }

    fn capture(look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        Ok(Self { minor: minor(look)? })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let path = KNOWN.iter().find(|(minor, _)| *minor == self.minor);
        let (_, path) =
            path.ok_or_else(|| Error::Image(format!("the device 1:{} is not known", self.minor)))?;
        paths::reopen(id, path.as_bytes(), 0, at)
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn minor(look: &Look) -> Result<u32, Stop> {
    let (major, minor) = (libc::major(look.stat.st_rdev), libc::minor(look.stat.st_rdev));
    if major == MEMORY && KNOWN.iter().any(|(known, _)| *known == minor) {
        return Ok(minor);
    }
    Err(Stop::cannot(
        format!("the device {} belongs to this machine", String::from_utf8_lossy(look.link())),
        "Close what uses the device in the program, then try again.",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::os::fd::AsFd;

    #[test]
    fn zero_gives_zeros_again() {
        let zero = std::fs::File::open("/dev/zero").unwrap();
        let mut session = Session::of(&[zero.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 3), [0; 3]);
    }
}
