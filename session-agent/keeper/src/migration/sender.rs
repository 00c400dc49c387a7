//! The source's side of a move. Pure.
//!
//! ```text
//! Offering → PreCopy → Stopping → Sealed → Writing → Committed → Done
//!     └──────────┴─────────┴─────────┴────────┘          │ lane lost: Asking → Committed …
//!                   Undone                               └ target has nothing: Reclaimed
//! ```
//! `Sealed` may go by way of `GivingLocks`, if both machines see the files that the session has locked.
//! Until `Writing` has succeeded every failure, time-out and cancel undoes the move; after it none does.
//! A message that has no place in a state undoes the move before the commit, and is treated as a
//! broken lane after it.

use std::time::Duration;

use roam_api::error::{Failure, Outcome};
use roam_api::migration::{Standing, ToSource, ToTarget};

/// Rounds of pre-copy at most.
const MAX_ROUNDS: u32 = 8;
/// What may be left for the time in which the session stands still.
const AIM_BYTES: u64 = 4 << 20;

/// Where the source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The offer is made.
    Offering,
    /// Memory goes over while the session runs.
    PreCopy {
        /// Rounds that are done.
        rounds: u32,
        /// Bytes of the last one.
        last: Option<u64>,
    },
    /// The session is frozen and the rest is copied.
    Stopping,
    /// Everything is sent; the target builds.
    Sealed,
    /// The target asked for the session's file locks; they are being given back.
    GivingLocks,
    /// "Gone" is being written.
    Writing,
    /// Written and said; the target has not confirmed.
    Committed,
    /// Written, and the lane is gone: a new one is being opened.
    Reconnecting,
    /// Over a new lane the target was asked what it has.
    Asking,
    /// The target runs it.
    Done,
    /// It was undone before the commit.
    Undone,
    /// The target has nothing after the commit: the session is here again.
    Reclaimed,
}

/// What happens to the source.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The target said something.
    Message(ToSource),
    /// A round is sent: so many bytes.
    RoundDone(u64),
    /// All is sent, frozen.
    Copied,
    /// The frozen session stays still whoever dies, and holds no file lock any more.
    LocksGiven,
    /// The engine could not do what it was asked.
    EngineFailed(Failure),
    /// "Gone" is in the journal, and the frozen session stays still whoever dies.
    Written,
    /// It is not.
    WriteFailed(Failure),
    /// The person cancels.
    Cancel,
    /// The time of this state is over.
    Timeout,
    /// The lane broke.
    LaneLost,
    /// There is a new lane.
    LaneBack,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send this.
    Send(ToTarget),
    /// Send a round of memory.
    Round,
    /// Freeze and send the rest.
    StopAndCopy,
    /// Make the frozen session stay still, write that, then give its file locks back.
    GiveLocks,
    /// Make the frozen session stay still, then write "gone".
    WriteGone,
    /// Let the session go on; the move ends with this failure.
    Undo(Failure),
    /// The session is at the target: end the copy here.
    DropCopy,
    /// Let the session go on after the commit: the target has nothing.
    Reclaim(Failure),
    /// Open a lane again and again.
    Reconnect,
    /// After so long, [`Input::Timeout`]; replaces the one before.
    Timer(Duration),
}

/// The rules of one move.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The move's number.
    pub number: u64,
    /// No pre-copy: asked for, or the kernel can't track writes.
    pub cold: bool,
}

const ANSWER: Duration = Duration::from_secs(30);
const BUILD: Duration = Duration::from_secs(60);
const CONFIRM: Duration = Duration::from_secs(20);

fn undone(sentence: &str) -> Failure {
    Failure::undone(format!("{sentence} The session goes on where it was."))
}

fn cancelled() -> Failure {
    undone("The move was cancelled.")
}

/// Whether memory should be sent ahead once more, after so many rounds, of which the last two had so many
/// bytes. Less than a fifth less than before is no progress worth another.
#[must_use]
pub fn another_round(rounds: u32, before: Option<u64>, last: u64) -> bool {
    let stuck = before.is_some_and(|before| last > before - before / 5);
    last > AIM_BYTES && !stuck && rounds < MAX_ROUNDS
}

impl State {
    /// One step.
    #[must_use]
    pub fn step(self, input: Input, rules: Rules) -> (Self, Vec<Effect>) {
        use Effect as E;
        use Input as I;
        let undo = |failure| (Self::Undone, vec![E::Undo(failure)]);
        match (self, input) {
            // Ends.
            (state @ (Self::Done | Self::Undone | Self::Reclaimed), _) => (state, vec![]),
            // A pong measures the way; nothing depends on it.
            (state, I::Message(ToSource::Pong)) => (state, vec![]),

            (Self::Offering, I::Message(ToSource::Accepted)) if rules.cold => {
                (Self::Stopping, vec![E::StopAndCopy, E::Timer(BUILD)])
            }
            (Self::Offering, I::Message(ToSource::Accepted)) => {
                (Self::PreCopy { rounds: 0, last: None }, vec![E::Round, E::Timer(ANSWER)])
            }
            (Self::Offering, I::Message(ToSource::Refused(failure))) => undo(failure),
            (Self::PreCopy { rounds, last }, I::RoundDone(bytes)) => {
                let rounds = rounds + 1;
                if another_round(rounds, last, bytes) {
                    (Self::PreCopy { rounds, last: Some(bytes) }, vec![E::Round, E::Timer(ANSWER)])
                } else {
                    (Self::Stopping, vec![E::StopAndCopy, E::Timer(BUILD)])
                }
            }
            (Self::Stopping, I::Copied) => (Self::Sealed, vec![E::Send(ToTarget::Sealed), E::Timer(BUILD)]),
            (Self::Sealed, I::Message(ToSource::NeedsLocks)) => {
                (Self::GivingLocks, vec![E::GiveLocks, E::Timer(BUILD)])
            }
            (Self::GivingLocks, I::LocksGiven) => {
                (Self::Sealed, vec![E::Send(ToTarget::LocksGiven), E::Timer(BUILD)])
            }
            (Self::Sealed, I::Message(ToSource::Prepared)) => (Self::Writing, vec![E::WriteGone]),

            (Self::Writing, I::Written) => {
                let commit = ToTarget::Commit { number: rules.number };
                (Self::Committed, vec![E::Send(commit), E::Timer(CONFIRM)])
            }
            (Self::Writing, I::WriteFailed(failure)) => undo(failure),
            // Whether "gone" is written or not is about to be known: that decides, nothing else.
            (Self::Writing, _) => (Self::Writing, vec![]),

            // Before the commit everything else undoes the move.
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                I::Message(ToSource::Failed(failure)),
            ) => undo(failure),
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                I::EngineFailed(failure),
            ) => undo(failure),
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                I::Cancel,
            ) => undo(cancelled()),
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                I::LaneLost,
            ) => undo(undone("The connection to the target broke.")),
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                I::Timeout,
            ) => undo(undone("The target does not answer.")),
            (
                Self::Offering | Self::PreCopy { .. } | Self::Stopping | Self::Sealed | Self::GivingLocks,
                _,
            ) => undo(undone("The target answered what makes no sense now.")),

            // After it nothing does but the target's own word.
            (Self::Committed, I::Message(ToSource::Activated))
            | (Self::Asking, I::Message(ToSource::Status(Standing::Activated) | ToSource::Activated)) => {
                (Self::Done, vec![E::DropCopy])
            }
            (Self::Committed, I::Message(ToSource::Failed(failure))) => {
                (Self::Reclaimed, vec![E::Reclaim(failure)])
            }
            (Self::Asking, I::Message(ToSource::Status(Standing::Prepared))) => {
                let commit = ToTarget::Commit { number: rules.number };
                (Self::Committed, vec![E::Send(commit), E::Timer(CONFIRM)])
            }
            (Self::Asking, I::Message(ToSource::Status(Standing::Nothing) | ToSource::Failed(_))) => {
                let failure = Failure::new(
                    Outcome::FailedAndUndone,
                    "The target lost the session before it ran there. The session goes on where it was.",
                );
                (Self::Reclaimed, vec![E::Reclaim(failure)])
            }
            (Self::Reconnecting, I::LaneBack) => {
                (Self::Asking, vec![E::Send(ToTarget::Query { number: rules.number }), E::Timer(CONFIRM)])
            }
            (Self::Reconnecting, _) => (Self::Reconnecting, vec![]),
            // A cancel comes too late.
            (state @ (Self::Committed | Self::Asking), I::Cancel) => (state, vec![]),
            (Self::Committed | Self::Asking, _) => (Self::Reconnecting, vec![E::Reconnect]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT: Rules = Rules { number: 5, cold: false };

    fn inputs() -> Vec<Input> {
        let failure = || Failure::undone("x.");
        let mut list: Vec<Input> = [
            ToSource::Accepted,
            ToSource::Refused(failure()),
            ToSource::Pong,
            ToSource::Prepared,
            ToSource::Failed(failure()),
            ToSource::Activated,
            ToSource::Status(Standing::Prepared),
            ToSource::Status(Standing::Activated),
            ToSource::Status(Standing::Nothing),
            ToSource::NeedsLocks,
        ]
        .into_iter()
        .map(Input::Message)
        .collect();
        list.extend([
            Input::RoundDone(1 << 30),
            Input::Copied,
            Input::LocksGiven,
            Input::EngineFailed(failure()),
            Input::Written,
            Input::WriteFailed(failure()),
            Input::Cancel,
            Input::Timeout,
            Input::LaneLost,
            Input::LaneBack,
        ]);
        list
    }

    fn walk(state: State, inputs: &[Input], rules: Rules) -> (State, Vec<Effect>) {
        let (mut state, mut all) = (state, vec![]);
        for input in inputs {
            let (next, effects) = state.step(input.clone(), rules);
            state = next;
            all.extend(effects);
        }
        (state, all)
    }

    #[test]
    fn a_move_goes_through_its_stages() {
        let mib = 1 << 20;
        let (state, effects) = walk(
            State::Offering,
            &[
                Input::Message(ToSource::Accepted),
                Input::RoundDone(200 * mib),
                Input::RoundDone(40 * mib),
                Input::RoundDone(3 * mib),
                Input::Copied,
                Input::Message(ToSource::Prepared),
                Input::Written,
                Input::Cancel,
                Input::Message(ToSource::Activated),
            ],
            HOT,
        );
        assert_eq!(state, State::Done);
        let names: Vec<_> = effects.into_iter().filter(|e| !matches!(e, Effect::Timer(_))).collect();
        assert_eq!(
            names,
            [
                Effect::Round,
                Effect::Round,
                Effect::Round,
                Effect::StopAndCopy,
                Effect::Send(ToTarget::Sealed),
                Effect::WriteGone,
                Effect::Send(ToTarget::Commit { number: 5 }),
                Effect::DropCopy
            ]
        );
    }

    #[test]
    fn rounds_end_when_they_do_not_shrink() {
        let pre = State::PreCopy { rounds: 1, last: Some(100 << 20) };
        assert_eq!(pre.clone().step(Input::RoundDone(90 << 20), HOT).0, State::Stopping);
        assert!(matches!(pre.step(Input::RoundDone(50 << 20), HOT).0, State::PreCopy { rounds: 2, .. }));
        let many = State::PreCopy { rounds: MAX_ROUNDS - 1, last: Some(u64::MAX) };
        assert_eq!(many.step(Input::RoundDone(1 << 30), HOT).0, State::Stopping);
    }

    /// Before "gone" is written: whatever comes, the move goes on by its rules or is undone, and the copy is
    /// never dropped. (Every state with every input.)
    #[test]
    fn before_the_commit_everything_unexpected_undoes() {
        for state in [
            State::Offering,
            State::PreCopy { rounds: 0, last: None },
            State::Stopping,
            State::Sealed,
            State::GivingLocks,
        ] {
            for input in inputs() {
                let (next, effects) = state.clone().step(input.clone(), HOT);
                assert!(!effects.contains(&Effect::DropCopy), "{state:?} {input:?}");
                let undone = effects.iter().any(|e| matches!(e, Effect::Undo(_)));
                assert_eq!(undone, next == State::Undone, "{state:?} {input:?}");
                let pong = input == Input::Message(ToSource::Pong);
                let rule = matches!(
                    (&state, &input),
                    (State::Offering, Input::Message(ToSource::Accepted))
                        | (State::PreCopy { .. }, Input::RoundDone(_))
                        | (State::Stopping, Input::Copied)
                        | (State::Sealed, Input::Message(ToSource::Prepared | ToSource::NeedsLocks))
                        | (State::GivingLocks, Input::LocksGiven)
                );
                assert_eq!(undone, !(pong || rule), "{state:?} {input:?}");
            }
        }
    }

    /// After it: only the target's own word drops the copy or lets the session go on here.
    #[test]
    fn after_the_commit_only_the_target_s_word_counts() {
        for state in [State::Committed, State::Reconnecting, State::Asking] {
            for input in inputs() {
                let (next, effects) = state.clone().step(input.clone(), HOT);
                let word = match (&state, &input) {
                    (State::Committed, Input::Message(ToSource::Activated)) => State::Done,
                    (State::Committed, Input::Message(ToSource::Failed(_))) => State::Reclaimed,
                    (State::Asking, Input::Message(m)) => match m {
                        ToSource::Activated | ToSource::Status(Standing::Activated) => State::Done,
                        ToSource::Failed(_) | ToSource::Status(Standing::Nothing) => State::Reclaimed,
                        _ => state.clone(),
                    },
                    _ => state.clone(),
                };
                let ends = matches!(word, State::Done | State::Reclaimed);
                assert_eq!(ends, matches!(next, State::Done | State::Reclaimed), "{state:?} {input:?}");
                if ends {
                    assert_eq!(next, word);
                }
                assert!(!effects.iter().any(|e| matches!(e, Effect::Undo(_))), "{state:?} {input:?}");
            }
        }
        for input in inputs() {
            let (next, effects) = State::Writing.step(input.clone(), HOT);
            let decided = matches!(input, Input::Written | Input::WriteFailed(_));
            assert_eq!(decided, next != State::Writing, "{input:?} {effects:?}");
        }
    }

    #[test]
    fn a_lost_lane_after_the_commit_is_asked_about() {
        let (state, effects) = walk(
            State::Committed,
            &[
                Input::LaneLost,
                Input::Timeout,
                Input::LaneBack,
                Input::Message(ToSource::Status(Standing::Prepared)),
                Input::Message(ToSource::Activated),
            ],
            HOT,
        );
        assert_eq!(state, State::Done);
        assert!(effects.contains(&Effect::Send(ToTarget::Query { number: 5 })));
        assert!(effects.contains(&Effect::Send(ToTarget::Commit { number: 5 })));
    }
}
