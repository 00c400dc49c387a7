//! What can go wrong in the engine.

use roam_api::error::Refusal;
use roam_sys::batch::CallFailed;

/// What helps against what passes by itself; remedies that begin so are tried once more before the person is asked
/// to.
pub const TRY_AGAIN: &str = "Try again in a moment.";

/// Whether this may be over soon.
#[must_use]
pub fn passes(refusal: &Refusal) -> bool {
    refusal.remedy.starts_with(TRY_AGAIN.trim_end_matches('.'))
}

/// An error of checkpoint or restore. After any of them the source runs on as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something can't be carried.
    #[error("{}", list(.0))]
    Refused(Vec<Refusal>),
    /// A system call made for a process failed.
    #[error("process {pid}: {source}")]
    Call {
        /// The pod pid.
        pid: i32,
        /// Which call, and why.
        #[source]
        source: CallFailed,
    },
    /// A system call of the keeper failed.
    #[error("{what}: {source}")]
    System {
        /// What it was for, as in "reading the memory map of process 7".
        what: String,
        /// The error number.
        #[source]
        source: std::io::Error,
    },
    /// The image contradicts itself or this pod.
    #[error("the checkpoint can't be restored: {0}")]
    Image(String),
    /// A process ended while it was being captured or built.
    #[error("process {pid} ended in the middle of {during}")]
    Vanished {
        /// The pid.
        pid: i32,
        /// What was being done.
        during: &'static str,
    },
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Error {
    /// Whether only what may be over soon stands in the way.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Refused(refusals) if refusals.iter().all(passes))
    }

    /// Wraps an I/O or nix error with what was being done.
    pub fn system(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}
