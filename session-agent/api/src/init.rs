//! What a keeper says to roam-init, the pod's pid 1, and what it answers.
//!
//! ```text
//! keeper                                 roam-init create        pod
//!   | PodSpec, with the listener ------------> |                  |
//!   | <--------------------- Created or Failed | -- execs ------> | roam-init run (pid 1)
//!   |                                                             |
//!   | connect to init.sock -------------------------------------> |
//!   | Request (descriptors by SCM_RIGHTS) ----------------------> |
//!   | <------------------------------------ Reply (with its own)  |
//!   | <------------------------------------ Event …               |  after Watch
//! ```
//! Requests of one connection are answered in their order. Until [`Request::Live`] the pod belongs to the
//! keeper that made it and ends with it; from then on it outlives every keeper.

use serde::{Deserialize, Serialize};

/// How a pod is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// The user's id inside the pod: the one it had where the session was started.
    pub uid: u32,
    /// The user's group inside the pod.
    pub gid: u32,
    /// The host name inside.
    pub hostname: String,
    /// An empty folder outside, on which the pod's root is put together.
    pub mount_point: Vec<u8>,
    /// The user's home; carried as it is, also if it lies below a private folder.
    pub home: Vec<u8>,
    /// XDG_RUNTIME_DIR inside: private and empty.
    pub runtime_dir: Vec<u8>,
    /// What is added to this machine's clocks.
    pub clocks: Clocks,
}

/// Offsets of a pod's clocks to its machine's, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// For CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// For CLOCK_BOOTTIME.
    pub boottime_ns: i64,
}

/// How making a pod came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Created {
    /// It is there; roam-init's pid as the keeper sees it.
    Pod {
        /// The pid.
        pid: i32,
    },
    /// It is not, and nothing is left of it.
    Failed {
        /// What was being done, and the system's reason.
        reason: String,
    },
}

/// What a process is to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The session's program: its status is the session's.
    Main,
    /// The X server, the window manager, the bus: they don't keep a session alive.
    Helper,
    /// A command of `roam exec`.
    Exec,
}

/// What a keeper asks of roam-init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How things stand. Answered by [`Reply::State`] with roam-init's pidfd.
    Hello,
    /// Start a program; its standard descriptors come with this frame (three). Answered by
    /// [`Reply::Started`] with the process's pidfd.
    Start {
        /// What the program is.
        role: Role,
        /// Program and arguments.
        argv: Vec<Vec<u8>>,
        /// The whole environment.
        env: Vec<(Vec<u8>, Vec<u8>)>,
        /// Working directory.
        cwd: Vec<u8>,
        /// File mode creation mask.
        umask: u32,
    },
    /// After a restore: what this child of roam-init is.
    Track {
        /// Pid inside the pod.
        pid: i32,
        /// What it is.
        role: Role,
        /// For a main program that had ended before: its status.
        status: Option<i32>,
    },
    /// From now on [`Reply::Event`]s are sent on this connection.
    Watch,
    /// A signal to one child, or to everything in the pod but roam-init.
    Signal {
        /// Pid inside the pod; none: all.
        pid: Option<i32>,
        /// The signal's number.
        signal: i32,
    },
    /// Keep a duplicate of the descriptor that comes with this frame for the next keeper.
    Keep {
        /// What it is called; replaces one of the same name.
        name: String,
    },
    /// Give a kept descriptor back, as a duplicate. Answered by [`Reply::Descriptor`].
    Fetch {
        /// What it is called.
        name: String,
    },
    /// Start the executable that comes with this frame with roam-init's capabilities and nothing open.
    /// Answered by [`Reply::Started`] with its pidfd.
    Stub,
    /// A NETLINK_SOCK_DIAG socket of the pod. Answered by [`Reply::Descriptor`].
    SocketDiag,
    /// From now on the pod outlives its keeper.
    Live,
    /// Stop everything, so that it stays still also when nobody traces it any more.
    Hold,
    /// Let go what [`Request::Hold`] stopped.
    Release,
    /// End the pod and everything in it. Not answered: the connection ends.
    End,
}

/// What roam-init sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// How things stand.
    State(State),
    /// Started; the pidfd comes with this frame.
    Started {
        /// Pid inside the pod.
        pid: i32,
    },
    /// The descriptor comes with this frame.
    Descriptor,
    /// It did not work; nothing changed.
    Failed {
        /// What did not work.
        what: String,
        /// The system's error number.
        errno: i32,
    },
    /// Something happened, for [`Request::Watch`].
    Event(Event),
}

/// What happened in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A known child ended.
    Exited {
        /// Pid inside the pod.
        pid: i32,
        /// What it was.
        role: Role,
        /// As the shell shows it: code, or 128 + signal.
        status: i32,
    },
    /// Nothing but helpers is left.
    Empty,
}

/// How things stand in the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The pod outlives its keeper.
    pub live: bool,
    /// Everything is stopped by [`Request::Hold`].
    pub held: bool,
    /// Known children that run: pid and role.
    pub running: Vec<(i32, Role)>,
    /// The main program's pid and, once it ended, its status.
    pub main: Option<(i32, Option<i32>)>,
    /// Nothing but helpers is left.
    pub empty: bool,
    /// Names of kept descriptors.
    pub kept: Vec<String>,
}
