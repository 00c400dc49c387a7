//! Namespaces that programs make for themselves, as sandboxes do: user, net, ipc, uts and pid.
//!
//! Each is known by the inode of /proc/PID/ns/KIND at the source, and by the user namespace that owns it; user
//! namespaces are a tree below the pod's own. `namespace_finder` finds them from outside. What is in them is asked by
//! a helper of the engine's that enters them (`namespace_content`), which the session's own processes may not be made
//! to do. `restore/namespaces.rs` makes them anew.
//!
//! Into the pod's user namespace only the user's own id is mapped, so those below it map that one id or none,
//! and setgroups(2) is forbidden in all of them.
//!
//! Refused: mnt, cgroup and time namespaces; threads of one process in different ones; a pid namespace for children
//! that has no process yet, or none any more, or that one of several threads has; of net namespaces those with
//! anything but a loopback interface and its usual addresses; of ipc namespaces those with anything in them. What a
//! program set below /proc/sys/net of its own, and its packet filters, are not looked for.

use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use serde::{Deserialize, Serialize};

use crate::error::TRY_AGAIN;

/// A namespace: its inode at the source, by which it is told from others. 0 is the pod's own.
pub type Id = u64;

/// A user namespace below the pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Which.
    pub id: Id,
    /// The one above it.
    pub parent: Id,
    /// What the pod's user is called in it, if it has a map.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
}

/// A namespace that is no user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub id: Id,
    /// The user namespace whose capabilities count in it.
    pub owner: Id,
    /// What is in it.
    pub state: State,
}

/// What is in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Network: nothing but the loopback interface.
    Net {
        /// The interface is up.
        up: bool,
    },
    /// System V objects and POSIX message queues: none.
    Ipc,
    /// Names of the host.
    Uts {
        /// Host name.
        host: Vec<u8>,
        /// Domain name of NIS.
        domain: Vec<u8>,
    },
}

/// The namespaces that a process is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Its user namespace.
    pub user: Id,
    /// Its network.
    pub net: Id,
    /// Its System V objects and message queues.
    pub ipc: Id,
    /// Its host name.
    pub uts: Id,
    /// The pid namespace of its children to come, if that is another than its own.
    pub children: Option<Id>,
}

/// A kind of namespace as /proc/PID/ns names it, and its flag for clone(2), unshare(2) and setns(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub &'static str, pub i32);

/// User namespaces.
pub const USER: Kind = Kind("user", libc::CLONE_NEWUSER);
/// Network namespaces.
pub const NET: Kind = Kind("net", libc::CLONE_NEWNET);
/// Namespaces of System V objects and message queues.
pub const IPC: Kind = Kind("ipc", libc::CLONE_NEWIPC);
/// Namespaces of host names.
pub const UTS: Kind = Kind("uts", libc::CLONE_NEWUTS);
/// Pid namespaces.
pub const PID: Kind = Kind("pid", libc::CLONE_NEWPID);

pub(super) const CHILDREN: &str = "pid_for_children";
const NOT_CARRIED: [&str; 3] = ["mnt", "cgroup", "time"];
pub(super) const REMEDY: &str = "This program can't be moved yet.";

impl State {
    /// The kind that this is of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Net { .. } => NET,
            Self::Ipc => IPC,
            Self::Uts { .. } => UTS,
        }
    }
}

impl Places {
    /// All but the user namespace, in the order in which they can be entered.
    #[must_use]
    pub fn others(&self) -> [(Id, Kind); 3] {
        [(self.net, NET), (self.ipc, IPC), (self.uts, UTS)]
    }
}

/// The inode of a namespace of a process or thread.
pub(super) fn inode(task: &str, kind: &str) -> io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/{task}/ns/{kind}"))?.ino())
}

/// The namespaces of a kind that is not carried, which this process does not share with the pod.
#[must_use]
pub fn not_carried(host: i32, init: Pid) -> Vec<&'static str> {
    let differs = |kind: &&&str| match (inode(&host.to_string(), kind), inode(&init.to_string(), kind)) {
        (Ok(own), Ok(pod)) => own != pod,
        // What has just ended shows none.
        _ => false,
    };
    NOT_CARRIED.iter().filter(differs).copied().collect()
}

/// Whether a thread is in another namespace than the first one of its process.
#[must_use]
pub fn is_apart(host: i32, tid: i32) -> bool {
    let kinds = NOT_CARRIED.into_iter().chain([NET.0, IPC.0, UTS.0, CHILDREN]);
    let task = format!("{host}/task/{tid}");
    kinds.into_iter().any(|kind| match (inode(&host.to_string(), kind), inode(&task, kind)) {
        (Ok(leader), Ok(thread)) => leader != thread,
        _ => false,
    })
}

/// A process.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub host: i32,
    pub pid: i32,
    pub name: String,
}

impl Member {
    pub fn refuse(&self, what: &str, reason: impl Into<String>, remedy: &str) -> Refusal {
        Refusal {
            process: self.name.clone(),
            pid: self.pid.unsigned_abs(),
            what: what.to_owned(),
            reason: reason.into(),
            remedy: remedy.to_owned(),
        }
    }
}

/// Adds the calls that enter a namespace of another process of the pod; whether they did, the result says.
pub fn enter_of(pid: i32, kind: Kind, batch: &mut Batch) -> RetOf {
    let path = batch.c_string(format!("/proc/{pid}/ns/{}", kind.0).as_bytes());
    let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
    let file = batch.may("opening a namespace", libc::SYS_openat, &open);
    let entered = batch.may("entering a namespace", libc::SYS_setns, &[file.into(), kind.1.into()]);
    batch.may("closing", libc::SYS_close, &[file.into()]);
    entered
}

/// What to say of a process that could not be looked at.
#[must_use]
pub fn unseen(pid: i32, name: &str, error: &io::Error) -> Refusal {
    let member = Member { host: 0, pid, name: name.to_owned() };
    member.refuse("its namespaces", format!("they can't be looked at ({error})"), TRY_AGAIN)
}
