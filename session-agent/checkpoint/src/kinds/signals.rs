//! Signals: what each process does on them, and what is pending.

use roam_sys::batch::{Batch, Data, Done};
use serde::{Deserialize, Serialize};

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
        // A standard signal may have become pending by itself meanwhile; then this one is dropped.
        match thread {
            Some(tid) => batch.may(
                "queueing a thread's signal",
                libc::SYS_rt_tgsigqueueinfo,
                &[process.into(), tid.into(), number.into(), info.into()],
            ),
            None => batch.may(
                "queueing a process's signal",
                libc::SYS_rt_sigqueueinfo,
                &[process.into(), number.into(), info.into()],
            ),
        };
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
}
