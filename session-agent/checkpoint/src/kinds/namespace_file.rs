//! Handles of namespaces: open files of /proc/PID/ns (namespaces(7)). Opened again through somebody who is in the same
//! one.
//!
//! Refused: a namespace that no process of the session is in, such as one that is held by its handle alone.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::namespaces::{Id, PID};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::Error;

/// A handle of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its kind, as /proc/PID/ns has it.
    pub kind: String,
    /// Which; 0 for the pod's own.
    pub id: Id,
    /// A process that is in it; 0 for the pod's own.
    pub member: i32,
}

const NSFS_MAGIC: i64 = 0x6e73_6673;
const KINDS: [&str; 8] = ["user", "net", "ipc", "uts", "pid", "mnt", "cgroup", "time"];

impl State {
    fn of(look: &Look, known: &Known<'_>) -> Result<Self, Stop> {
        let cannot = |why| Stop::cannot(why, "Close it in the program, then try again.");
        // Its link is KIND:[INODE], whichever file of /proc/PID/ns was opened.
        let kind = KINDS.into_iter().find(|kind| {
            look.link().strip_prefix(kind.as_bytes()).is_some_and(|rest| rest.starts_with(b":["))
        });
        let kind = kind.ok_or_else(|| cannot("Roam does not know this kind of namespace"))?;
        let is_in = |host: i32| {
            let file = std::fs::metadata(format!("/proc/{host}/ns/{kind}"));
            file.is_ok_and(|file| file.ino() == look.stat.st_ino)
        };
        if is_in(known.pod.init().as_raw()) {
            return Ok(Self { kind: kind.to_owned(), id: 0, member: 0 });
        }
        let member = known.holders.iter().find(|holder| is_in(holder.host.as_raw()));
        let member = member.ok_or_else(|| cannot("no process of the session is in this namespace"))?;
        Ok(Self { kind: kind.to_owned(), id: look.stat.st_ino, member: member.pid })
    }
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        descriptor::file_system(look.file.as_fd()).is_ok_and(|fs| fs == NSFS_MAGIC)
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        Self::of(look, known).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Self::of(look, &at.known)
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let through = match self.id {
            0 => "self".to_owned(),
            // A process is born in its pid namespace and enters the others later than this.
            _ if self.kind == PID.0 => self.member.to_string(),
            namespace => at.somebody_in(namespace)?.to_string(),
        };
        paths::reopen(id, format!("/proc/{through}/ns/{}", self.kind).as_bytes(), 0, at)
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}
