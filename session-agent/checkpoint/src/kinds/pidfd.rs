//! Handles of processes: pidfd_open(2), CLONE_PIDFD.
//!
//! Refused: those of processes that have been reaped, and of processes outside the session.

use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A handle of a process or thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The pid in the pod.
    pub pid: i32,
    /// PIDFD_THREAD.
    pub thread: bool,
}

const THREAD: i32 = libc::O_EXCL;

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("Pid:")
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        pid(look, known).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Ok(Self { pid: pid(look, &at.known)?, thread: look.info.flags & THREAD != 0 })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let flags = libc::O_NONBLOCK | if self.thread { THREAD } else { 0 };
        let slot = at.slot(id);
        let batch = at.batch(0)?;
        let fd = batch.must("pidfd_open", libc::SYS_pidfd_open, &[self.pid.into(), flags.into()]);
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

/// The pod's pid is the last of NSpid, which begins with this process's view.
fn pid(look: &Look, known: &Known<'_>) -> Result<i32, Stop> {
    let remedy = "Wait until the program has noticed, then try again.";
    let host = look.info.decimal("Pid").unwrap_or(-1);
    if host <= 0 {
        return Err(Stop::cannot("it stands for a process that has ended", remedy));
    }
    if let Some(pid) = known.pod_pid(host as i32) {
        return Ok(pid);
    }
    let spaces = look.info.value("NSpid").map_or(0, |v| v.split_whitespace().count());
    match look.info.value("NSpid").and_then(|v| v.split_whitespace().last()?.parse().ok()) {
        Some(pid) if spaces > 1 => Ok(pid),
        _ => Err(Stop::cannot("it stands for a process outside the session", remedy)),
    }
}
