//! What the agent says to a session's keeper, and what it answers.
//!
//! The agent starts `roam-keeper --dir RUNTIME/sessions/ID --state STATE/sessions/ID`, detached, and
//! then connects to `keeper.sock` in the first folder. A keeper begins empty; its first request is
//! one of [`Request::Start`], [`Request::Receive`], [`Request::Questions`], [`Request::Resume`] or [`Request::Adopt`].
//! One request per connection as in [`crate::agent`]; [`Request::Watch`] stays open. A connection
//! that is closed before the answer cancels the request where that is still possible.

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::session::{
    MachineKey, MoveProgress, MoveReport, ParkReport, SessionId, SessionInfo, SessionSpec, WakeReport,
};

/// Who a keeper works for: put in by its agent, never asked from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The session's id.
    pub id: SessionId,
    /// Raised at every change of host.
    pub generation: u64,
    /// The home machine's name.
    pub home: String,
    /// This machine's name.
    pub host: String,
}

/// What the agent asks of a keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Make a pod and start the program. Answered by `Ok` once it is execed.
    Start {
        /// Who it is.
        identity: Identity,
        /// What to start.
        spec: SessionSpec,
    },
    /// Take over a pod whose keeper died. Answered by `Info`.
    Adopt {
        /// This machine's name, which may have changed.
        host: String,
    },
    /// Wake the session that sleeps in this file.
    Resume {
        /// Who it is now.
        identity: Identity,
        /// Absolute path.
        file: String,
    },
    /// Get ready to receive a session over a lane. Answered by [`Answer::Listening`]; the move itself
    /// then runs keeper to keeper, and [`Request::Watch`] tells how it ends.
    Receive {
        /// Who it will be (generation already raised).
        identity: Identity,
        /// The source machine's name.
        from: String,
        /// How the source's keeper proves itself.
        lane: LaneSecret,
        /// How much memory it may fill here, in bytes, if the source's permissions limit it.
        most_memory: Option<u64>,
    },
    /// Move the session to a keeper that is listening. Progress, then [`Answer::Moved`].
    Send {
        /// The target machine's name.
        to: String,
        /// Its key.
        to_key: MachineKey,
        /// Where its agent's lane listener is, in the order to be tried.
        addresses: Vec<String>,
        /// How the two keepers prove themselves.
        lane: LaneSecret,
        /// No pre-copy.
        cold: bool,
    },
    /// Stop a send under way, if its commit is not written.
    CancelSend,
    /// What the session is now.
    Info,
    /// Stays open: [`Reply::Info`] at once and after every change.
    Watch,
    /// Wait for the session's end.
    Wait,
    /// Its output.
    Log {
        /// Keep open.
        follow: bool,
    },
    /// SIGTERM to all, SIGKILL after 5 s; then the keeper ends.
    Stop,
    /// Run a command in the pod; [`crate::agent::Input`] frames follow from the client.
    Exec {
        /// Program and arguments.
        argv: Vec<Vec<u8>>,
    },
    /// Sleep in a file; the keeper ends after its answer.
    Park {
        /// Absolute path.
        file: String,
    },
    /// Turn this connection into a viewer's: after `Ok`, [`crate::display`] messages flow both ways.
    Attach {
        /// The viewer's machine name.
        machine: String,
        /// No input from there.
        view_only: bool,
    },
    /// End the viewers of this machine (none: all).
    Detach {
        /// The viewer's machine name.
        machine: Option<String>,
    },
    /// A lane connection for this keeper; the socket itself came with this frame as SCM_RIGHTS.
    Lane {
        /// The routing token that the connection began with.
        token: [u8; 16],
    },
    /// Nothing comes: give up what is arriving, and end if there is nothing. A session that runs is not touched.
    Withdraw,
    /// Get ready for the questions of a source about a move that it has committed, and for nothing else: no session
    /// comes of it. Answered by [`Answer::Listening`].
    Questions {
        /// Who it would be.
        identity: Identity,
        /// The source machine's name.
        from: String,
        /// How the source's keeper proves itself.
        lane: LaneSecret,
    },
}

/// One-time secrets of a lane between two keepers, made by the target's agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSecret {
    /// Sent in clear as the first bytes of a lane, so that the agent's listener can route it.
    pub token: [u8; 16],
    /// Known to both keepers only: a one-time key that both TLS certificates are derived from or
    /// checked with.
    pub key: [u8; 32],
}

impl std::fmt::Debug for LaneSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaneSecret(…)")
    }
}

/// What a keeper sends back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// How far a send is.
    Progress(MoveProgress),
    /// Bytes of a program's output: stream 1 or 2.
    Output {
        /// 1 for stdout, 2 for stderr.
        stream: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The session changed (for `Watch`).
    Info(SessionInfo),
    /// Done.
    Done(Answer),
    /// Failed; says whether anything changed.
    Failed(Failure),
}

/// The last word of a request that went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing more to say.
    Ok,
    /// What the session is now.
    Info(SessionInfo),
    /// Ready for the lane.
    Listening,
    /// The session or command ended: code, or 128 + signal.
    Ended {
        /// As the shell shows it.
        status: i32,
    },
    /// It sleeps in the file.
    Parked(ParkReport),
    /// It runs again.
    Resumed(WakeReport),
    /// It runs at the target.
    Moved(MoveReport),
}
