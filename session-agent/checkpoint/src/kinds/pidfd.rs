//! Handles of processes: pidfd_open(2), CLONE_PIDFD.
//!
//! One whose process has ended and been waited for tells nothing but that, so any such handle will do.
//! Refused: those of processes outside the session; at a target before Linux 6.9, those made as of a thread. Those of threads that are not the first of their process are made
//! late ([`super::late`]).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use roam_sys::batch::{Batch, RetOf};
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::late;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;
use crate::pod::Pod;

/// A handle of a process or thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The pid in the pod; `None` if it has ended and been waited for.
    pub pid: Option<i32>,
    /// PIDFD_THREAD.
    pub thread: bool,
    /// It is of a thread that is made after the descriptors.
    pub late: bool,
}

/// How long roam-init may take to notice that a process has ended.
const REAPED: Duration = Duration::from_secs(10);
const THREAD: i32 = libc::O_EXCL;

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("Pid:")
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        pid(look, known)?;
        if is_of_thread(look, known) { late::check(look, known) } else { Ok(()) }
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Self::check(look, &at.known)?;
        Ok(Self {
            pid: pid(look, &at.known)?,
            thread: look.info.flags & THREAD != 0,
            late: is_of_thread(look, &at.known),
        })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        if self.pid.is_none() {
            let ended = ended(at.pod).map_err(|e| Error::system("making a handle of an ended process", e))?;
            return at.import(ended.as_fd(), slot);
        }
        if self.late {
            return late::stand_in(id, at);
        }
        let Some(fd) = self.open(at.batch(0)?) else { return Ok(()) };
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

impl State {
    /// Why this machine can't make it, and what helps.
    pub(super) fn differs(&self) -> Option<(String, String)> {
        (self.thread && self.pid.is_some() && !descriptor::threads_have_handles()).then(|| {
            (
                "it is a handle of a thread, and that machine's kernel makes none".to_owned(),
                "Send it to a machine with Linux 6.9 or newer, or let the program close it.".to_owned(),
            )
        })
    }

    /// Adds the call that opens it; none if its process has ended.
    pub(super) fn open(&self, batch: &mut Batch) -> Option<RetOf> {
        let flags = libc::O_NONBLOCK | if self.thread { THREAD } else { 0 };
        Some(batch.must("pidfd_open", libc::SYS_pidfd_open, &[self.pid?.into(), flags.into()]))
    }
}

/// Whether this is a handle of a thread of the session that is not the first of its process.
pub(super) fn is_of_thread(look: &Look, known: &Known<'_>) -> bool {
    let host = look.info.decimal("Pid").unwrap_or(0) as i32;
    State::matches(look)
        && look.info.flags & THREAD != 0
        && host > 0
        && known.pod_pid(host).is_none()
        && known.pod_thread(host).is_some()
}

/// A handle of a process of the pod that has ended and been waited for.
fn ended(pod: &dyn Pod) -> io::Result<OwnedFd> {
    let host = pod.spawn_stub()?;
    let handle = descriptor::pidfd_open(host)?;
    roam_sys::spawn::pidfd_signal(handle.as_fd(), libc::SIGKILL)?;
    let deadline = Instant::now() + REAPED;
    // Its parent, roam-init, waits for it.
    while std::path::Path::new(&format!("/proc/{host}")).exists() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(handle)
}

/// The pod's pid is the second of NSpid, which begins with this process's view. The kernel shows -1 for
/// one that has been waited for, and 0 for one that this process can't see.
fn pid(look: &Look, known: &Known<'_>) -> Result<Option<i32>, Stop> {
    let remedy = "Close the handle in the program, then try again.";
    let host = look.info.decimal("Pid").unwrap_or(0);
    if host == -1 {
        return Ok(None);
    }
    if let Some(pid) = known.pod_pid(host as i32) {
        return Ok(Some(pid));
    }
    match look.info.value("NSpid").and_then(|v| v.split_whitespace().nth(1)?.parse().ok()) {
        Some(pid) => Ok(Some(pid)),
        None => Err(Stop::cannot("it stands for a process outside the session", remedy)),
    }
}
