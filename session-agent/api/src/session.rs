//! Sessions as every part speaks of them: identity, what to start, what is known, how a move goes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine's identity: its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MachineKey(pub [u8; 32]);

impl MachineKey {
    /// The first eight hexadecimal digits, for logs and file names.
    #[must_use]
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// All 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineKey({}…)", self.short())
    }
}

/// A session's identity, which it keeps for life on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId {
    /// The key of the machine where it was started.
    pub home: MachineKey,
    /// A random number, unique at home.
    pub number: u64,
}

impl fmt::Display for SessionId {
    /// The form used in folder names: `<home, 8 digits>-<number, 16 digits>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.home.short(), self.number)
    }
}

/// What `roam run` asks for. Working directory and environment are the caller's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The name, unique at home; chosen from the program's name if the person gave none.
    pub name: String,
    /// Program and arguments, as bytes of the caller.
    pub argv: Vec<Vec<u8>>,
    /// Environment, already cleaned by the documented list.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Absolute working directory.
    pub cwd: Vec<u8>,
    /// The file mode creation mask of the caller.
    pub umask: u32,
    /// False for `--no-screen`: no X server in the pod.
    pub screen: bool,
    /// Ports to publish: pod port and host port.
    pub publish: Vec<(u16, u16)>,
}

/// What a session is doing now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    /// The pod is being made, or the program has not been execed yet.
    Starting,
    /// It runs here.
    Running,
    /// It runs here and is being sent to `to`.
    Sending {
        /// The target machine's name.
        to: String,
        /// How far it is.
        stage: MoveStage,
    },
    /// It is arriving here from `from` and does not run here yet.
    Receiving {
        /// The source machine's name.
        from: String,
    },
    /// It sleeps in a file.
    Parked {
        /// The file's path at home.
        file: String,
    },
    /// Its last process has ended.
    Ended {
        /// The first program's wait status as the shell would show it: code, or 128 + signal.
        status: i32,
    },
}

/// The stages of a move, in their order (DESIGN §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MoveStage {
    /// Asking the target.
    Offer,
    /// The target makes pod and stubs.
    Reserve,
    /// Memory streams while the session runs.
    PreCopy,
    /// The session is frozen; the rest is copied.
    StopAndCopy,
    /// The target has built everything; nothing runs.
    Prepared,
    /// The source has written "gone".
    Commit,
    /// The target runs it.
    Activate,
}

/// How far a move is, for progress bars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveProgress {
    /// The stage now.
    pub stage: MoveStage,
    /// Bytes sent so far.
    pub bytes_sent: u64,
    /// Bytes expected in all, as known now; 0 while unknown.
    pub bytes_total: u64,
    /// Milliseconds since the move began.
    pub elapsed_ms: u64,
}

/// One round of pre-copy, or the last copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Pages sent in it.
    pub pages: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// What a finished move was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveReport {
    /// From the first thread stopped to the last thread running again, on the source's clock, in
    /// milliseconds: half a round trip is subtracted from what the source saw.
    pub downtime_ms: f64,
    /// Half the round trip: the downtime's uncertainty, in milliseconds.
    pub downtime_uncertainty_ms: f64,
    /// The whole move in milliseconds.
    pub total_ms: u64,
    /// Milliseconds spent in each stage.
    pub phases: Vec<(MoveStage, f64)>,
    /// The rounds of memory.
    pub rounds: Vec<Round>,
    /// All bytes sent by the source.
    pub bytes_sent: u64,
    /// Memory pages and kernel objects of the checkpoint, in bytes, before the wire.
    pub checkpoint_bytes: u64,
    /// Connections that live on.
    pub connections_kept: u32,
    /// Connections that were closed.
    pub connections_lost: u32,
}

/// What putting a session to sleep was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParkReport {
    /// The file's size in bytes.
    pub bytes: u64,
    /// From the first thread being stopped until everything was in the file, in milliseconds.
    pub frozen_ms: f64,
    /// The rounds of memory that went ahead while it ran, and the last copy.
    pub rounds: Vec<Round>,
}

/// What waking a session was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WakeReport {
    /// Making the pod, in milliseconds.
    pub pod_ms: f64,
    /// From the first byte read from the file until every thread ran, in milliseconds.
    pub restored_ms: f64,
}

/// One viewer that shows a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownOn {
    /// The machine's name.
    pub machine: String,
    /// True if it only looks.
    pub view_only: bool,
}

/// A session as lists and the app show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Its identity.
    pub id: SessionId,
    /// Raised at every change of host.
    pub generation: u64,
    /// Its name at home.
    pub name: String,
    /// The home machine's name.
    pub home: String,
    /// The name of the machine where it runs now.
    pub host: String,
    /// What it is doing.
    pub state: SessionState,
    /// The program line, for people.
    pub command: String,
    /// Titles of its top-level windows, if it has any.
    pub titles: Vec<String>,
    /// Where its windows are shown.
    pub shown_on: Vec<ShownOn>,
    /// Number of processes.
    pub processes: u32,
    /// Resident memory of its processes in bytes.
    pub memory_bytes: u64,
    /// Seconds since the epoch when it was started.
    pub started_unix: u64,
    /// False if it was started with `--no-screen`.
    pub screen: bool,
}
