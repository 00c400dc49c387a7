//! Signals: what each process does on them, and what is pending.
//!
//! Refused: more pending signals than a user may have on the target (RLIMIT_SIGPENDING).

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Data, Done};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Bytes of the kernel's `struct sigaction` on x86-64: handler, flags, restorer, mask.
const ACTION: usize = 32;
/// Signals are 1 to 64.
const LAST: i32 = 64;

/// The action for one signal; only those that are not the default are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Which signal.
    pub signal: i32,
    /// The kernel's structure, as it is.
    pub raw: [u8; ACTION],
}

/// A pending signal: the kernel's siginfo, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending(pub Vec<u8>);

impl Pending {
    /// Its number.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.0.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes)
    }

    fn is_whole(&self) -> bool {
        self.0.len() == 128 && (1..=LAST).contains(&self.signal())
    }
}

/// Questions to a process about its actions.
pub struct Asked(Vec<(i32, Data)>);

/// Adds the questions to a batch that the process will run.
pub fn ask(batch: &mut Batch) -> Asked {
    let catchable = (1..=LAST).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP);
    Asked(
        catchable
            .map(|signal| {
                let room = batch.room(ACTION);
                batch.must(
                    "reading a signal's action",
                    libc::SYS_rt_sigaction,
                    &[signal.into(), 0.into(), room.into(), 8.into()],
                );
                (signal, room)
            })
            .collect(),
    )
}

/// Reads the answers.
#[must_use]
pub fn answers(asked: &Asked, done: &Done) -> Vec<Action> {
    asked
        .0
        .iter()
        .map(|(signal, room)| Action {
            signal: *signal,
            raw: done.bytes(*room).try_into().expect("asked so"),
        })
        .filter(|action| action.raw != [0; ACTION])
        .collect()
}

/// Adds the calls that make these actions the process's own.
pub fn restore_actions(actions: &[Action], batch: &mut Batch) {
    for action in actions {
        let raw = batch.data(&action.raw);
        batch.must(
            "setting a signal's action",
            libc::SYS_rt_sigaction,
            &[action.signal.into(), raw.into(), 0.into(), 8.into()],
        );
    }
}

/// Adds the calls that make signals pending again: for the process, or for one of its threads, which
/// must run the batch itself, since only to itself may a process send any siginfo.
pub fn restore_pending(pending: &[Pending], process: i32, thread: Option<i32>, batch: &mut Batch) {
    for signal in pending.iter().filter(|p| p.is_whole()) {
        let info = batch.data(&signal.0);
        let number = signal.signal();
        // A standard signal that became pending by itself meanwhile stays that one.
        match thread {
            Some(tid) => batch.must(
                QUEUEING,
                libc::SYS_rt_tgsigqueueinfo,
                &[process.into(), tid.into(), number.into(), info.into()],
            ),
            None => {
                batch.must(QUEUEING, libc::SYS_rt_sigqueueinfo, &[process.into(), number.into(), info.into()])
            }
        };
    }
}

/// So many are queued in one batch.
pub const MANY: usize = 1000;
const QUEUEING: &str = "queueing a signal";

/// Adds the call that lets as many signals wait as this machine allows, where that is more than now. `host` is the
/// process's number as the keeper sees it. The program's own limit is set later.
pub fn make_room(host: i32, batch: &mut Batch) {
    let which = libc::RLIMIT_SIGPENDING;
    if let Ok((soft, hard)) = roam_sys::limits::get(host, which)
        && soft < hard
    {
        let limit = batch.data(&[hard, hard].map(u64::to_le_bytes).concat());
        let args = [0.into(), which.into(), limit.into(), 0.into()];
        batch.may("letting more signals wait", libc::SYS_prlimit64, &args);
    }
}

/// An error of the calls of [`restore_pending`] for this process: a refusal if there were too many.
pub fn explained(error: Error, name: &[u8], pid: i32) -> Error {
    match error {
        Error::Call { source, .. } if source.what == QUEUEING && source.errno == libc::EAGAIN => {
            Error::Refused(vec![Refusal {
                process: String::from_utf8_lossy(name).into_owned(),
                pid: pid.unsigned_abs(),
                what: "the signals that wait for it".to_owned(),
                reason: "there are more than a user may have on that machine".to_owned(),
                remedy: "Raise the limit of waiting signals there (`ulimit -Hi`, or LimitSIGPENDING of the user's \
                         services)."
                    .to_owned(),
            }])
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_siginfo_is_left_out() {
        let mut batch = Batch::new();
        let mut whole = vec![0u8; 128];
        whole[0] = 10;
        restore_pending(&[Pending(vec![1, 2]), Pending(whole), Pending(vec![0; 128])], 5, None, &mut batch);
        assert_eq!(batch.len(), 1);
    }
    #[test]
    fn too_many_signals_are_a_refusal_that_names_the_process() {
        let failed = |errno| Error::Call {
            pid: 5,
            source: roam_sys::batch::CallFailed { what: QUEUEING, index: 0, errno },
        };
        let Error::Refused(refusals) = explained(failed(libc::EAGAIN), b"app", 5) else {
            panic!("another error")
        };
        assert_eq!((refusals[0].process.as_str(), refusals[0].pid), ("app", 5));
        assert!(matches!(explained(failed(libc::EPERM), b"app", 5), Error::Call { .. }));
    }
}
