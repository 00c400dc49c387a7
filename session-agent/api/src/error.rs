//! How a part says no: what failed, whether anything changed, and what the person can do.

use serde::{Deserialize, Serialize};

/// The outcome classes of DESIGN §4, which are also the command line's exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Wrong use: an unknown session, machine or argument. Exit code 2.
    WrongUse,
    /// Refused with a reason; nothing changed. Exit code 3.
    Refused,
    /// Failed and undone: the session still runs where it was. Exit code 4.
    FailedAndUndone,
    /// The machine can't be reached. Exit code 5.
    Unreachable,
    /// Committed, but the target has not confirmed it yet. Exit code 6.
    Unconfirmed,
}

impl Outcome {
    /// The command line's exit code for this outcome.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::WrongUse => 2,
            Self::Refused => 3,
            Self::FailedAndUndone => 4,
            Self::Unreachable => 5,
            Self::Unconfirmed => 6,
        }
    }
}

/// A failure as it is shown to a person: a whole sentence, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}{}", self.next_step.as_ref().map(|s| format!(" {s}")).unwrap_or_default())]
pub struct Failure {
    /// The class, which decides the exit code.
    pub outcome: Outcome,
    /// What happened, as a sentence with a full stop.
    pub sentence: String,
    /// What the person can do now, as a sentence with a full stop.
    pub next_step: Option<String>,
    /// For a refused checkpoint: everything that can't be carried.
    pub refusals: Vec<Refusal>,
}

impl Failure {
    /// A failure of the given class without a next step.
    pub fn new(outcome: Outcome, sentence: impl Into<String>) -> Self {
        Self { outcome, sentence: sentence.into(), next_step: None, refusals: Vec::new() }
    }

    /// Wrong use, exit code 2.
    pub fn wrong_use(sentence: impl Into<String>) -> Self {
        Self::new(Outcome::WrongUse, sentence)
    }

    /// Refused and nothing changed, exit code 3.
    pub fn refused(sentence: impl Into<String>) -> Self {
        Self::new(Outcome::Refused, sentence)
    }

    /// Failed and undone, exit code 4.
    pub fn undone(sentence: impl Into<String>) -> Self {
        Self::new(Outcome::FailedAndUndone, sentence)
    }

    /// Not reachable, exit code 5.
    pub fn unreachable(sentence: impl Into<String>) -> Self {
        Self::new(Outcome::Unreachable, sentence)
    }

    /// Adds the sentence that says what to do now.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next_step = Some(step.into());
        self
    }
}

/// One thing that can't be carried, found before anything was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}{what}: {reason}. {remedy}", self.whose())]
pub struct Refusal {
    /// The process's name (its `comm`).
    pub process: String,
    /// Its pid inside the pod; 0 for what belongs to no process alone.
    pub pid: u32,
    /// The descriptor, mapping or property: `descriptor 7 (socket:[…])`, `mapping 7f12…`.
    pub what: String,
    /// Why it can't be carried, without a full stop.
    pub reason: String,
    /// What the person can do, as a sentence.
    pub remedy: String,
}

impl Refusal {
    fn whose(&self) -> String {
        match self.pid {
            0 => String::new(),
            pid => format!("{} (process {pid}): ", self.process),
        }
    }
}
