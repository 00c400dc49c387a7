//! The target's side of a move. Pure.
//!
//! ```text
//! Waiting → Reserving → Receiving → Building → Prepared → Activating → Activated
//!    └──────────┴───────────┴──────────┘          │ (only "abort" ends it)
//!                 Nothing                         │ lane lost: Prepared, and whoever comes is answered
//! ```
//! Before `Prepared` whatever goes wrong gives everything up. From `Prepared` on the copy is kept, frozen, until
//! the source says commit or abort, however long that takes.

use std::time::Duration;

use roam_api::error::Failure;
use roam_api::migration::{Item, Offer, Standing, ToSource, ToTarget};

/// Where the target is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No offer has come.
    Waiting,
    /// The pod is being made.
    Reserving,
    /// Pieces come.
    Receiving,
    /// Everything came; it is being built.
    Building,
    /// Built; nothing runs.
    Prepared,
    /// Being started.
    Activating,
    /// It runs here.
    Activated,
    /// Nothing is here, and nothing will be.
    Nothing,
    /// The same, and nothing may come in either: a source that has committed a move asks about it.
    Asked,
}

/// What happens to the target.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The source said something.
    Message(ToTarget),
    /// The pod is there.
    Reserved,
    /// The machine can't take the session.
    CanNot(Failure),
    /// Building has come to file locks that somebody holds.
    NeedsLocks,
    /// Built and in the journal.
    Built,
    /// It runs, and that is in the journal.
    Runs,
    /// The engine could not do what it was asked; nothing of it is left.
    EngineFailed(Failure),
    /// The time of this state is over.
    Timeout,
    /// The lane broke.
    LaneLost,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send this.
    Send(ToSource),
    /// Check the offer and make the pod.
    Reserve(Box<Offer>),
    /// Give this to the engine.
    Take(Item),
    /// Build, then write "prepared".
    Build,
    /// The source has let go of its file locks: take them, and build on.
    GoOnWithLocks,
    /// Write "activating", start everything, write "running".
    Activate,
    /// Give up whatever there is, for this reason.
    Discard(Failure),
    /// After so long without a message, [`Input::Timeout`]; none: wait for ever.
    Timer(Option<Duration>),
}

const MESSAGE: Duration = Duration::from_secs(60);

fn broken() -> Failure {
    Failure::undone("The connection to the source broke before the session had arrived.")
}

impl State {
    /// What to say to a source that asks.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self {
            Self::Prepared | Self::Activating => Standing::Prepared,
            Self::Activated => Standing::Activated,
            Self::Waiting
            | Self::Reserving
            | Self::Receiving
            | Self::Building
            | Self::Nothing
            | Self::Asked => Standing::Nothing,
        }
    }

    /// One step. `number` is the move's, once an offer came.
    #[must_use]
    pub fn step(self, input: Input, number: Option<u64>) -> (Self, Vec<Effect>) {
        use Effect as E;
        use Input as I;
        use ToTarget as M;
        let give_up = |failure: Failure| {
            (Self::Nothing, vec![E::Discard(failure.clone()), E::Send(ToSource::Failed(failure))])
        };
        match (self, input) {
            (state, I::Message(M::Ping)) => (state, vec![E::Send(ToSource::Pong)]),

            (Self::Waiting, I::Message(M::Offer(offer))) => {
                (Self::Reserving, vec![E::Reserve(offer), E::Timer(Some(MESSAGE))])
            }
            // The same source begins anew: it has given up what it offered before, or it would ask about that.
            (
                state @ (Self::Reserving | Self::Receiving | Self::Building | Self::Prepared | Self::Nothing),
                I::Message(M::Offer(offer)),
            ) if Some(offer.number) != number => {
                let again = Failure::undone("The source offered the session anew.");
                let mut effects = vec![];
                if state != Self::Nothing {
                    effects.push(E::Discard(again));
                }
                effects.extend([E::Reserve(offer), E::Timer(Some(MESSAGE))]);
                (Self::Reserving, effects)
            }
            (Self::Reserving, I::Reserved) => {
                (Self::Receiving, vec![E::Send(ToSource::Accepted), E::Timer(Some(MESSAGE))])
            }
            (Self::Reserving, I::CanNot(failure)) => {
                (Self::Nothing, vec![E::Discard(failure.clone()), E::Send(ToSource::Refused(failure))])
            }
            (Self::Receiving, I::Message(M::Item(item))) => {
                (Self::Receiving, vec![E::Take(item), E::Timer(Some(MESSAGE))])
            }
            (Self::Receiving, I::Message(M::Sealed)) => {
                (Self::Building, vec![E::Build, E::Timer(Some(MESSAGE))])
            }
            (Self::Building, I::NeedsLocks) => {
                (Self::Building, vec![E::Send(ToSource::NeedsLocks), E::Timer(Some(MESSAGE))])
            }
            (Self::Building, I::Message(M::LocksGiven)) => {
                (Self::Building, vec![E::GoOnWithLocks, E::Timer(Some(MESSAGE))])
            }
            (Self::Building, I::Built) => (Self::Prepared, vec![E::Send(ToSource::Prepared), E::Timer(None)]),

            // Prepared: only the source's word for this very move counts.
            (Self::Prepared, I::Message(M::Commit { number: of })) if Some(of) == number => {
                (Self::Activating, vec![E::Activate, E::Timer(None)])
            }
            (Self::Prepared, I::Message(M::Abort { failure })) => (Self::Nothing, vec![E::Discard(failure)]),
            (Self::Activating, I::Runs) => (Self::Activated, vec![E::Send(ToSource::Activated)]),
            (Self::Activating, I::EngineFailed(failure)) => give_up(failure),
            (state, I::Message(M::Query { number: of })) => {
                let same = Some(of) == number;
                // A question about the move that is being made can only be a mistake; it is answered all the same.
                let standing = if same { state.standing() } else { Standing::Nothing };
                (state, vec![E::Send(ToSource::Status(standing))])
            }
            // Whatever is offered is older than what ran here.
            (Self::Activated, I::Message(M::Offer(offer))) if Some(offer.number) != number => {
                let refused = Failure::refused(format!("{} has been there in a newer state.", offer.name));
                (Self::Activated, vec![E::Send(ToSource::Refused(refused))])
            }
            (state @ (Self::Prepared | Self::Activating | Self::Activated), _) => (state, vec![]),

            (Self::Asked, I::Message(M::Offer(offer))) => {
                let refused = Failure::refused(format!("{} was asked about, not offered.", offer.name));
                (Self::Asked, vec![E::Send(ToSource::Refused(refused))])
            }
            (Self::Asked, _) => (Self::Asked, vec![]),
            (Self::Nothing, _) => (Self::Nothing, vec![]),

            // Before it everything else gives the copy up.
            (_, I::EngineFailed(failure) | I::CanNot(failure)) => give_up(failure),
            (_, I::Message(M::Abort { failure })) => (Self::Nothing, vec![E::Discard(failure)]),
            (Self::Waiting, I::LaneLost) => (Self::Waiting, vec![]),
            (_, I::LaneLost) => (Self::Nothing, vec![E::Discard(broken())]),
            (_, I::Timeout) => give_up(Failure::undone("The source says nothing any more.")),
            (_, I::Message(_) | I::Reserved | I::NeedsLocks | I::Built | I::Runs) => {
                give_up(Failure::undone("The source said what makes no sense now."))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_api::keeper::Identity;
    use roam_api::session::{MachineKey, SessionId};

    fn offer() -> Box<Offer> {
        let id = SessionId { home: MachineKey([1; 32]), number: 2 };
        Box::new(Offer {
            identity: Identity { id, generation: 2, home: "a".into(), host: "b".into() },
            number: 5,
            name: "n".into(),
            about: vec![],
            memory_bytes: 0,
            cpu_features: vec![],
            clocks_ns: (0, 0),
            wants: vec![],
        })
    }

    fn item() -> Item {
        Item::Bytes { part: roam_api::migration::Part::Log, last: true, bytes: vec![] }
    }

    fn inputs() -> Vec<Input> {
        let failure = || Failure::undone("x.");
        let mut list: Vec<Input> = [
            ToTarget::Offer(offer()),
            ToTarget::Item(item()),
            ToTarget::Sealed,
            ToTarget::LocksGiven,
            ToTarget::Commit { number: 5 },
            ToTarget::Commit { number: 6 },
            ToTarget::Ping,
            ToTarget::Abort { failure: failure() },
            ToTarget::Query { number: 5 },
            ToTarget::Query { number: 6 },
        ]
        .into_iter()
        .map(Input::Message)
        .collect();
        list.extend([
            Input::Reserved,
            Input::CanNot(failure()),
            Input::NeedsLocks,
            Input::Built,
            Input::Runs,
            Input::EngineFailed(failure()),
            Input::Timeout,
            Input::LaneLost,
        ]);
        list
    }

    fn states() -> [State; 9] {
        [
            State::Waiting,
            State::Reserving,
            State::Receiving,
            State::Building,
            State::Prepared,
            State::Activating,
            State::Activated,
            State::Nothing,
            State::Asked,
        ]
    }

    #[test]
    fn a_move_goes_through_its_stages() {
        let mut state = State::Waiting;
        let mut said = vec![];
        for input in [
            Input::Message(ToTarget::Offer(offer())),
            Input::Reserved,
            Input::Message(ToTarget::Item(item())),
            Input::Message(ToTarget::Sealed),
            Input::Built,
            Input::Message(ToTarget::Commit { number: 5 }),
            Input::Runs,
        ] {
            let (next, effects) = state.step(input, Some(5));
            state = next;
            said.extend(effects.into_iter().filter_map(|e| match e {
                Effect::Send(message) => Some(message),
                _ => None,
            }));
        }
        assert_eq!(state, State::Activated);
        assert_eq!(said, [ToSource::Accepted, ToSource::Prepared, ToSource::Activated]);
    }

    /// Nothing but a commit for this move, in `Prepared`, ever starts the session. (Every state with every
    /// input.)
    #[test]
    fn only_the_commit_starts_it() {
        for state in states() {
            for input in inputs() {
                let (_, effects) = state.clone().step(input.clone(), Some(5));
                let starts = effects.contains(&Effect::Activate);
                let commit = input == Input::Message(ToTarget::Commit { number: 5 });
                assert_eq!(starts, state == State::Prepared && commit, "{state:?} {input:?}");
            }
        }
    }

    /// A prepared copy is given up only at the source's word, a running one never.
    #[test]
    fn a_prepared_copy_is_kept() {
        for state in [State::Prepared, State::Activating, State::Activated] {
            for input in inputs() {
                let (next, effects) = state.clone().step(input.clone(), Some(5));
                let discarded = effects.iter().any(|e| matches!(e, Effect::Discard(_)));
                let may = match &input {
                    Input::Message(ToTarget::Abort { .. }) => state == State::Prepared,
                    Input::EngineFailed(_) => state == State::Activating,
                    _ => false,
                };
                assert_eq!(discarded, may, "{state:?} {input:?}");
                assert_eq!(next == State::Nothing, may, "{state:?} {input:?}");
            }
        }
    }

    /// Once it said that there is nothing, nothing ever comes of it.
    #[test]
    fn nothing_stays_nothing() {
        for input in inputs() {
            let (next, effects) = State::Nothing.step(input, Some(5));
            assert_eq!(next, State::Nothing);
            assert!(
                effects
                    .iter()
                    .all(|e| matches!(e, Effect::Send(ToSource::Pong | ToSource::Status(Standing::Nothing))))
            );
        }
    }

    /// A source that gave up without being heard may offer again, with a new number; one that runs here is kept.
    #[test]
    fn a_new_offer_takes_the_place_of_an_old_one() {
        for state in states() {
            let (next, effects) = state.clone().step(Input::Message(ToTarget::Offer(offer())), Some(4));
            let keeps = matches!(state, State::Activating | State::Activated | State::Asked);
            assert_eq!(next == State::Reserving, !keeps, "{state:?}");
            let had = !matches!(state, State::Waiting | State::Nothing) && !keeps;
            assert_eq!(matches!(effects.first(), Some(Effect::Discard(_))), had, "{state:?}");
        }
    }

    /// Whoever only asks can't bring anything in, nor end anything.
    #[test]
    fn a_question_lets_nothing_in() {
        for input in inputs() {
            let (next, effects) = State::Asked.step(input.clone(), None);
            assert_eq!(next, State::Asked);
            let said = |e: &Effect| {
                let nothing = ToSource::Status(Standing::Nothing);
                matches!(e, Effect::Send(ToSource::Pong | ToSource::Refused(_)))
                    || *e == Effect::Send(nothing)
            };
            assert!(effects.iter().all(said), "{input:?} {effects:?}");
            let asked = matches!(input, Input::Message(ToTarget::Query { .. }));
            assert_eq!(effects == [Effect::Send(ToSource::Status(Standing::Nothing))], asked, "{input:?}");
        }
    }

    #[test]
    fn before_prepared_everything_unexpected_gives_up() {
        for state in [State::Reserving, State::Receiving, State::Building] {
            for input in inputs() {
                let (next, effects) = state.clone().step(input.clone(), Some(5));
                let rule = matches!(
                    (&state, &input),
                    (State::Reserving, Input::Reserved)
                        | (State::Receiving, Input::Message(ToTarget::Item(_) | ToTarget::Sealed))
                        | (
                            State::Building,
                            Input::Built | Input::NeedsLocks | Input::Message(ToTarget::LocksGiven)
                        )
                        | (_, Input::Message(ToTarget::Ping | ToTarget::Query { .. }))
                );
                assert_eq!(next == State::Nothing, !rule, "{state:?} {input:?}");
                assert_eq!(
                    effects.iter().any(|e| matches!(e, Effect::Discard(_))),
                    !rule,
                    "{state:?} {input:?}"
                );
            }
        }
    }
}
