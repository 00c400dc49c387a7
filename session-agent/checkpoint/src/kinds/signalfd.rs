//! Receivers of signals: signalfd(2). Pending signals belong to the processes, not to it.

use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A receiver of signals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The signals, bit 0 for signal 1.
    pub mask: u64,
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("sigmask:")
    }

    fn check(_look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        Ok(())
    }

    fn capture(look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        let mask = look.info.hex("sigmask").ok_or_else(|| {
            Stop::cannot("its mask is not understood", "This kernel may be too new for this Roam.")
        })?;
        Ok(Self { mask })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        let batch = at.batch(8)?;
        let mask = batch.data(&self.mask.to_ne_bytes());
        let args = [(-1i32).into(), mask.into(), 8u32.into(), libc::SFD_NONBLOCK.into()];
        let fd = batch.must("signalfd4", libc::SYS_signalfd4, &args);
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

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use nix::sys::signal::{SigSet, Signal};
    use nix::sys::signalfd::SignalFd;
    use std::os::fd::AsFd;

    #[test]
    fn the_mask_comes_back() {
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR1);
        set.add(Signal::SIGCHLD);
        let fd = SignalFd::new(&set).unwrap();
        Session::of(&[fd.as_fd()]).round_trip();
    }
}
