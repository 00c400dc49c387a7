//! How a move came out whose answer was lost, because an agent, a keeper or a link died over it.
//!
//! The truth is asked of the one that owns it: the keeper of the machine where the session was, by way of that
//! machine's agent; or the target, once it says that the session runs there. Nothing is concluded from what was known
//! before: until somebody says so anew, it is not known, and that is said, too.

use std::sync::Arc;
use std::time::Duration;

use roam_api::agent::{Answer, Reply};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Reply as KeeperReply, Request as KeeperRequest};
use roam_api::peer::{self, Action};
use roam_api::session::{MachineKey, MoveStage, SessionId, SessionState};
use roam_link::frames;

use super::actions::Origin;
use super::keeper::Keeper;
use super::table::Place;
use super::{Agent, moves, network};

/// How long is looked for the truth, for someone at this machine.
pub const LIMIT: Duration = Duration::from_secs(40);
/// The same for another machine, which looks itself, so that its answer comes before that one gives up.
pub const LIMIT_FOR_OTHERS: Duration = Duration::from_secs(15);
/// Between two looks at what tells nobody when it changes: machines that come back, keepers being started.
const PAUSE: Duration = Duration::from_millis(300);

/// The move that was asked about.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Who asks.
    pub origin: Origin,
    /// Of which session.
    pub id: SessionId,
    /// Where it was to go.
    pub to: MachineKey,
    /// How often the question may be passed on.
    pub hops: u8,
    /// Whether a move that this agent runs is the one, and its end the answer.
    pub joins: bool,
}

/// Looks until it is known, no longer than `limit`.
///
/// # Errors
/// Where the session runs, or that this is not known; that class of failure alone leaves it open.
pub async fn find(agent: &Arc<Agent>, asked: Question, limit: Duration) -> Result<Answer, Failure> {
    let mut committed = false;
    match tokio::time::timeout(limit, look(agent, asked, &mut committed)).await {
        Ok(found) => found,
        Err(_) => Err(Words::of(agent, asked).open(committed)),
    }
}

async fn look(agent: &Arc<Agent>, asked: Question, committed: &mut bool) -> Result<Answer, Failure> {
    let Question { origin, id, to, hops, joins } = asked;
    let mut changes = agent.changes();
    loop {
        changes.mark_unchanged();
        let (running, place, told) = {
            let core = agent.core();
            (core.moves.running(&id), core.table.place(&id), core.table.runs_there(&id))
        };
        if joins
            && let Some(run) = running
            && let Some(end) = moves::end_of(agent, run, to).await
        {
            return end;
        }
        match place {
            Some(Place::Here) => {
                if let Some(failure) = keepers_word(agent, asked, committed).await {
                    return Err(failure);
                }
            }
            Some(Place::There(machine)) if machine == to && told => {
                return Err(Words::of(agent, asked).arrived());
            }
            Some(Place::There(machine)) if hops > 0 && origin != Origin::Peer(machine) => {
                if let Some(answer) = ask(agent, machine, asked).await {
                    return answer;
                }
            }
            Some(Place::Parked(file)) => return Err(Words::of(agent, asked).asleep(&file)),
            Some(Place::Ended(status)) => return Err(Words::of(agent, asked).ended(status)),
            Some(Place::There(_)) | None => {}
        }
        let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
    }
}

/// What the keeper of this machine says, as soon as that is final; none if it has gone.
async fn keepers_word(agent: &Agent, asked: Question, committed: &mut bool) -> Option<Failure> {
    let mut keeper = Keeper::connect_now(&agent.paths.session_runtime(&asked.id)).await.ok()?;
    keeper.say(&KeeperRequest::Watch).await.ok()?;
    let words = Words::of(agent, asked);
    while let Ok(KeeperReply::Info(info)) = keeper.hear().await {
        match info.state {
            SessionState::Running if asked.to == agent.key() => return Some(words.arrived()),
            SessionState::Running => return Some(words.stayed(&agent.name)),
            SessionState::Sending { stage, .. } => *committed |= stage >= MoveStage::Commit,
            SessionState::Parked { file } => return Some(words.asleep(&file)),
            SessionState::Ended { status } => return Some(words.ended(status)),
            SessionState::Starting | SessionState::Receiving { .. } => {}
        }
    }
    None
}

/// Asks the machine that has the session, or knows who has it. None if it can't be reached or does not know.
async fn ask(agent: &Agent, machine: MachineKey, asked: Question) -> Option<Result<Answer, Failure>> {
    let action = Action::Settle { to: asked.to };
    let request = peer::Request::Act { session: asked.id, action, hops: asked.hops - 1 };
    let (_say, mut hear) = network::open(agent, machine, &request).await.ok()?;
    loop {
        match frames::expect(&mut hear).await.ok()? {
            Reply::Done(answer) => return Some(Ok(answer)),
            Reply::Failed(failure) => {
                // It may not have heard of the session yet, or be of a version that does not know the question.
                let open = matches!(failure.outcome, Outcome::Unreachable | Outcome::WrongUse);
                return (!open).then_some(Err(failure));
            }
            _ => {}
        }
    }
}

/// The names for the sentences.
struct Words {
    session: String,
    to: String,
}

impl Words {
    fn of(agent: &Agent, asked: Question) -> Self {
        let core = agent.core();
        let session =
            core.table.info(&asked.id).map_or_else(|| asked.id.to_string(), |info| info.name.clone());
        let to = if asked.to == agent.key() { agent.name.clone() } else { core.machines.name(&asked.to) };
        Self { session, to }
    }

    fn stayed(&self, host: &str) -> Failure {
        let Self { session, to } = self;
        Failure::undone(format!("The move to {to} broke off. {session} still runs on {host}."))
            .next(format!("Send it again: roam send {session} {to}."))
    }

    fn arrived(&self) -> Failure {
        let Self { session, to } = self;
        Failure::new(
            Outcome::Unconfirmed,
            format!("{session} runs on {to} now, but how the move went is not known."),
        )
        .next("There is nothing to do.")
    }

    fn asleep(&self, file: &str) -> Failure {
        let Self { session, .. } = self;
        Failure::refused(format!("{session} sleeps in {file}."))
            .next(format!("Wake it with `roam resume {session}`."))
    }

    fn ended(&self, status: i32) -> Failure {
        Failure::refused(format!("{} has ended (status {status}).", self.session))
    }

    /// The time is over.
    fn open(&self, committed: bool) -> Failure {
        let Self { session, to } = self;
        if committed {
            return Failure::new(
                Outcome::Unconfirmed,
                format!("{session} went to {to}, which has not confirmed it yet."),
            )
            .next("It is asked until it answers; nothing is lost meanwhile.");
        }
        Failure::unreachable(format!(
            "The move of {session} to {to} broke off, and where it runs is not known: nobody who knows answers."
        ))
        .next("It runs in one of the two places; `roam list` shows where, once both machines are in reach.")
    }
}
