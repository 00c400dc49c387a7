//! What two agents say to each other over the link.
//!
//! ```text
//! asking agent                              asked agent
//!   | one stream per conversation: Request --> |
//!   | <----------------- Reply …, Done, Failed |
//! ```
//! Every stream begins with one [`Request`]. A machine that is not paired may say
//! [`Request::Hello`], [`Request::PairBegin`], [`Request::PairProve`] and [`Request::PairConfirm`];
//! anything else gets [`Reply::NotPaired`] and nothing more. For [`Request::Act`] the answers are those
//! of [`crate::agent`]; for [`Request::Attach`], after [`Reply::Ok`], [`crate::display`] messages
//! flow both ways. Closing a stream cancels what it asked for, where that is still possible.

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::keeper::LaneSecret;
use crate::session::{MachineKey, MoveProgress, SessionId, SessionInfo};

/// How often a request may be passed on before somebody gives up: ends loops of stale knowledge.
pub const MAX_HOPS: u8 = 4;

/// What opens a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? Answered by [`Reply::Name`].
    Hello {
        /// The asking machine's name.
        name: String,
    },
    /// Please show a code, I would like to be paired. Answered by [`Reply::Name`].
    PairBegin {
        /// The asking machine's name.
        name: String,
    },
    /// The asking side's half of the key exchange. Answered by [`Reply::PairMessage`].
    PairProve {
        /// SPAKE2's message.
        message: Vec<u8>,
    },
    /// The asking side's proof of the code. Answered by [`Reply::PairMessage`] with the other proof,
    /// after which both are paired.
    PairConfirm {
        /// A keyed hash over both keys.
        proof: [u8; 32],
    },
    /// You are paired with me no longer. Answered by [`Reply::Ok`].
    Unpair,
    /// Tell me your sessions, now and after every change: [`Reply::Sessions`], until closed.
    Watch,
    /// Do something with a session that you have, or know where it is.
    Act {
        /// Which.
        session: SessionId,
        /// What.
        action: Action,
        /// How often this may be passed on.
        hops: u8,
    },
    /// Take this session. Answered by [`Reply::Ready`].
    Offer(Offer),
    /// What I offered does not come: end the keeper that waits for it. Answered by [`Reply::Ok`].
    Withdraw {
        /// Which.
        session: SessionId,
    },
    /// Show me this session's windows. After [`Reply::Ok`] the stream carries display messages.
    Attach {
        /// Which.
        session: SessionId,
        /// I send no input.
        view_only: bool,
        /// How often this may be passed on.
        hops: u8,
    },
    /// Open windows for this session on your screen. Answered by [`Reply::Ok`].
    ShowHere {
        /// Which.
        session: SessionId,
        /// Take no input.
        view_only: bool,
        /// What to write above them if the session is not known there yet.
        title: String,
    },
    /// Close the windows of this session on your screen. Answered by [`Reply::Ok`].
    HideHere {
        /// Which.
        session: SessionId,
    },
}

/// What can be done to a session from another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Wait for its end.
    Wait,
    /// Its output.
    Log {
        /// Until it ends.
        follow: bool,
    },
    /// End it.
    Stop,
    /// Run a command in it; [`crate::agent::Input`] frames follow.
    Exec {
        /// Program and arguments.
        argv: Vec<Vec<u8>>,
    },
    /// Put it to sleep in a file.
    Park {
        /// Absolute path at its host; none: the agent's own folder.
        file: Option<String>,
    },
    /// Wake it.
    Resume,
    /// Move it to this machine.
    Send {
        /// The target.
        to: MachineKey,
        /// No pre-copy.
        cold: bool,
    },
    /// Stop a move under way.
    CancelSend,
    /// Close its windows.
    Hide {
        /// On this machine; none: everywhere.
        on: Option<MachineKey>,
    },
    /// Say how a `Send` came out whose answer was lost, as [`crate::agent::Request::Settle`].
    Settle {
        /// The target.
        to: MachineKey,
    },
}

/// A session that wants to move to the machine that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is, at the source.
    pub info: SessionInfo,
    /// Show its windows at the target once it runs there: `Some(view_only)`.
    pub show: Option<bool>,
}

/// What the asked agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// My name.
    Name {
        /// As its person calls it.
        name: String,
    },
    /// The other half of the key exchange, or the other proof.
    PairMessage {
        /// Bytes of SPAKE2, or 32 bytes of proof.
        message: Vec<u8>,
    },
    /// The whole of what I have.
    Sessions {
        /// Sessions that I host.
        has: Vec<SessionInfo>,
        /// Sessions that left me, with their generation elsewhere.
        left: Vec<(SessionId, u64)>,
        /// Sessions that ended here.
        ended: Vec<SessionInfo>,
        /// How far the sessions are that I send to you.
        coming: Vec<(SessionId, MoveProgress)>,
    },
    /// A keeper waits for the session.
    Ready {
        /// How the two keepers prove themselves.
        lane: LaneSecret,
        /// TCP port of my lane listener.
        lane_port: u16,
    },
    /// You are not paired with me.
    NotPaired,
    /// No.
    Failed(Failure),
}
