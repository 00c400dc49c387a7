//! Event counters: eventfd(2).

use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// An event counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its value.
    pub count: u64,
    /// EFD_SEMAPHORE.
    pub semaphore: bool,
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("eventfd-count")
    }

    fn check(_look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        Ok(())
    }

    fn capture(look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        let count = look.info.hex("eventfd-count").ok_or_else(|| {
            Stop::cannot("its counter is not understood", "This kernel may be too new for this Roam.")
        })?;
        let semaphore = match look.info.decimal("eventfd-semaphore") {
            Some(flag) => flag != 0,
            None => probe_semaphore(look, count).map_err(|e| Error::system("probing an event counter", e))?,
        };
        Ok(Self { count, semaphore })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        let batch = at.batch(8)?;
        let flags = libc::EFD_NONBLOCK | if self.semaphore { libc::EFD_SEMAPHORE } else { 0 };
        // eventfd2 takes 32 bits; more is written.
        let start = u32::try_from(self.count).unwrap_or(0);
        let fd = batch.must("eventfd2", libc::SYS_eventfd2, &[start.into(), flags.into()]);
        if u64::from(start) != self.count {
            let value = batch.data(&self.count.to_ne_bytes());
            batch.must("filling an event counter", libc::SYS_write, &[fd.into(), value.into(), 8u32.into()]);
        }
        at.place(fd, slot);
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Kernels before 6.5 don't say whether it is a semaphore: read, see how much is gone, put it back.
/// Nothing here can block: there is always something to read, and always room.
fn probe_semaphore(look: &Look, count: u64) -> std::io::Result<bool> {
    let file = look.file.as_fd();
    let take = || {
        let mut value = [0; 8];
        descriptor::read(file, &mut value).map(|_| u64::from_ne_bytes(value))
    };
    let put = |value: u64| match value {
        0 => Ok(0),
        _ => descriptor::write(file, &value.to_ne_bytes()),
    };
    if count == 0 {
        put(2)?;
        let semaphore = take()? == 1;
        if semaphore {
            take()?;
        }
        return Ok(semaphore);
    }
    let taken = take()?;
    if taken < count {
        put(taken)?;
        return Ok(true);
    }
    // Either it was 1, or this is no semaphore; it is 0 now.
    put(2)?;
    let semaphore = take()? == 1;
    if semaphore {
        take()?;
    }
    put(count)?;
    Ok(semaphore)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Session, value};
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};

    #[test]
    fn counters_come_back() {
        let plain = EventFd::from_value_and_flags(7, EfdFlags::EFD_NONBLOCK).unwrap();
        let semaphore = EventFd::from_value_and_flags(2, EfdFlags::EFD_SEMAPHORE).unwrap();
        let full = EventFd::from_value_and_flags(0, EfdFlags::empty()).unwrap();
        full.write(u64::MAX - 1).unwrap();
        let mut session = Session::of(&[plain.as_fd(), semaphore.as_fd(), full.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 8), 7u64.to_ne_bytes());
        assert_eq!(session.read(1, 8), 1u64.to_ne_bytes());
        assert_eq!(session.read(1, 8), 1u64.to_ne_bytes());
        assert_eq!(session.read(2, 8), (u64::MAX - 1).to_ne_bytes());
        assert_eq!(value(&plain), 7);
    }

    #[test]
    fn the_probe_of_old_kernels_changes_nothing() {
        for (count, flags) in [(0, 0), (1, 0), (5, 0), (0, 1), (1, 1), (5, 1)] {
            let fd = EventFd::from_value_and_flags(count, EfdFlags::from_bits_retain(flags)).unwrap();
            let session = Session::of(&[fd.as_fd()]);
            let look = session.look(0);
            assert_eq!(probe_semaphore(&look, u64::from(count)).unwrap(), flags != 0, "{count} {flags}");
            let now = session.look(0).info.hex("eventfd-count");
            assert_eq!(now, Some(u64::from(count)));
        }
    }
}
