//! What the app and the command line say to the agent, and what it answers.
//!
//! ```text
//! client                              agent
//!   | Hello ---------------------------> |
//!   | <------------------------- Welcome |
//!   | one Request ---------------------> |
//!   | <--------------- Progress …        |   only for long work
//!   | <- Output … / Input -> …           |   only for Exec and Log
//!   | <------------------ Done or Failed |   always last
//! ```
//! One request per connection, except [`Request::Watch`], which stays open and sends a
//! [`Reply::Snapshot`] at once and after every change. Closing the connection of a `Send` before
//! its commit cancels it.

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::session::{
    MachineKey, MoveProgress, MoveReport, ParkReport, SessionInfo, SessionSpec, WakeReport,
};

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Start a session. Answered by [`Answer::Started`] once the program is execed.
    Run(SessionSpec),
    /// All sessions of the community that are known here.
    List,
    /// All machines, found and paired.
    Machines,
    /// A live picture of everything, for the app.
    Watch,
    /// Wait until the session's last process has ended. Answered by [`Answer::Ended`].
    Wait {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
    },
    /// What the session's programs printed, then follow if asked.
    Log {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// Keep the stream open until the session ends.
        follow: bool,
    },
    /// End every process of the session: SIGTERM, then SIGKILL after 5 s.
    Stop {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
    },
    /// Run a command in the session, wherever it runs.
    Exec {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// Program and arguments.
        argv: Vec<Vec<u8>>,
    },
    /// Put the session to sleep in a file.
    Park {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// Absolute path; none: the agent's own folder.
        file: Option<String>,
    },
    /// Wake a parked session, by name or by file.
    Resume {
        /// A session's name or an absolute path.
        what: String,
    },
    /// Move a session to a machine. Sends [`Reply::Progress`]; answered by [`Answer::Moved`].
    Send {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// The target machine's name; `.` is this machine (pull it here).
        machine: String,
        /// Stop first, then copy: no pre-copy.
        cold: bool,
    },
    /// Ask a running send of this session to stop. Without effect after commit.
    CancelSend {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
    },
    /// Show the session's screen on a machine; it keeps running where it is.
    Show {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// None: this machine.
        on: Option<String>,
        /// No input from there.
        view_only: bool,
    },
    /// Stop showing it there.
    Hide {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// None: everywhere.
        on: Option<String>,
    },
    /// Begin pairing with a found machine, an address `HOST:PORT`, or finish it with the code.
    Pair {
        /// Machine name or address.
        machine: String,
        /// The six digits shown there; none: ask the machine to show them.
        code: Option<String>,
    },
    /// Forget a paired machine, on both sides if it can be reached.
    Unpair {
        /// Machine name.
        machine: String,
    },
    /// Change what a paired machine may do here.
    Allow {
        /// Machine name.
        machine: String,
        /// Permission name and value, as the person wrote them.
        changes: Vec<(String, String)>,
    },
    /// The person's answer to [`Question`].
    Answer {
        /// The question's number.
        question: u64,
        /// Yes or no.
        yes: bool,
    },
    /// End the agent; sessions go on.
    Quit,
    /// What this machine can do: the checks of `roam doctor`.
    Doctor,
    /// Where did a `Send` end whose answer was lost? Moves nothing. Answered by [`Answer::Moved`] only if that very move
    /// is still followed; else by a failure that says where the session runs.
    Settle {
        /// `NAME` or `NAME@MACHINE`.
        session: String,
        /// The machine it was to go to.
        machine: String,
    },
}

/// What the agent sends back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// How far long work is.
    Progress(MoveProgress),
    /// Bytes of a program's output.
    Output {
        /// 1 for stdout, 2 for stderr.
        stream: u8,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Everything the app shows, whole.
    Snapshot(Snapshot),
    /// The request is done.
    Done(Answer),
    /// The request failed; the failure says whether anything changed.
    Failed(Failure),
}

/// What a client sends after an `Exec` request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Bytes for the command's stdin.
    Bytes(Vec<u8>),
    /// The end of stdin.
    End,
    /// A signal for the command, by number.
    Signal(i32),
}

/// The last word of a request that went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing more to say.
    Ok,
    /// The session's name at home.
    Started {
        /// Its name.
        name: String,
    },
    /// The sessions.
    Sessions(Vec<SessionInfo>),
    /// The machines.
    Machines(Vec<MachineInfo>),
    /// The session (for `Wait`) or command (for `Exec`) ended: code, or 128 + signal.
    Ended {
        /// As the shell shows it.
        status: i32,
    },
    /// It sleeps in this file.
    Parked {
        /// Absolute path.
        file: String,
        /// Figures.
        report: ParkReport,
    },
    /// It runs again.
    Resumed {
        /// The session's name at home.
        name: String,
        /// Figures.
        report: WakeReport,
    },
    /// It runs there now; none if it already was there.
    Moved {
        /// The machine it came from.
        from: String,
        /// The machine it is on.
        to: String,
        /// Figures, none if nothing had to be done.
        report: Option<MoveReport>,
    },
    /// The other machine shows a code now; ask the person for it and send `Pair` again.
    CodeShownThere {
        /// The other machine's name.
        machine: String,
    },
    /// Paired with this machine.
    Paired {
        /// Its name.
        machine: String,
    },
    /// The checks of `roam doctor`.
    Doctor(Vec<Check>),
}

/// One check of `roam doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked: "user namespaces".
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, as a sentence.
    pub detail: String,
    /// What to do about it, if anything.
    pub remedy: Option<String>,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Fine.
    Good,
    /// Works, but slower or with less.
    Limited,
    /// Roam can't do its work without it.
    Bad,
}

/// Everything the app shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// This machine's name.
    pub machine: String,
    /// All sessions known in the community.
    pub sessions: Vec<SessionInfo>,
    /// All machines but this one.
    pub machines: Vec<MachineInfo>,
    /// Sends under way from, to or through here.
    pub moves: Vec<MoveInfo>,
    /// What the person must answer or be told.
    pub questions: Vec<Question>,
    /// A code to show while another machine pairs with this one, and that machine's name.
    pub pairing_code: Option<(String, String)>,
}

/// A move under way, or lately ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveInfo {
    /// The session's name as this machine says it.
    pub session: String,
    /// From this machine.
    pub from: String,
    /// To this machine.
    pub to: String,
    /// How far.
    pub progress: MoveProgress,
    /// The end, if it ended: a report or a failure. Kept for 60 s.
    pub end: Option<Result<MoveReport, Failure>>,
}

/// A question to the person, such as "may desk send you Editor?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// To answer with.
    pub number: u64,
    /// The whole sentence.
    pub text: String,
}

/// A machine as lists and the app show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineInfo {
    /// Its key, none while it is only an address.
    pub key: Option<MachineKey>,
    /// Its name.
    pub name: String,
    /// Paired with this machine.
    pub paired: bool,
    /// Can be reached now.
    pub online: bool,
    /// Its addresses, newest first, as text.
    pub addresses: Vec<String>,
    /// What it may do here: permission and value.
    pub permissions: Vec<(String, String)>,
    /// Seconds since the epoch when it was last heard.
    pub last_seen_unix: u64,
}
