//! Waiting for a session's end, wherever it goes meanwhile.
//!
//! Every wait has an end that is true: the status, that the session sleeps in a file, or that it is gone and nobody
//! knows how it ended. What this agent hears in one moment proves neither: a keeper that was sent away or put to
//! sleep is gone a moment before it is said why, and a machine may list a session a moment late. So where nobody says
//! that the session runs, the machine that had it last is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_api::agent::{Answer, Reply};
use roam_api::error::{Failure, Outcome};
use roam_api::peer::{Action, MAX_HOPS, Request};
use roam_api::session::{MachineKey, SessionId};
use roam_link::frames;

use super::serve::{Channel, gone};
use super::table::Place;
use super::{Agent, network};

/// How long nobody may say that a session runs before that means something.
const GRACE: Duration = Duration::from_secs(3);
/// How long the machine that had a session may take to say that it has it no more; a wait that goes on there says nothing.
const WORD: Duration = Duration::from_secs(8);

/// Waits for the session's end.
///
/// # Errors
/// If it will not come, and why; or if the one who asks leaves.
pub async fn wait(agent: &Arc<Agent>, id: SessionId, channel: &mut Channel) -> Result<Answer, Failure> {
    tokio::select! {
        ended = until_ended(agent, id) => ended,
        () = channel.closed() => Err(gone()),
    }
}

async fn until_ended(agent: &Agent, id: SessionId) -> Result<Answer, Failure> {
    tracing::debug!(session = %id, "somebody waits for its end");
    let mut changes = agent.changes();
    let mut name = id.to_string();
    let mut had_it: Option<MachineKey> = None;
    let mut unsaid: Option<Instant> = None;
    loop {
        changes.mark_unchanged();
        let (place, told) = {
            let core = agent.core();
            if let Some(info) = core.table.info(&id) {
                name.clone_from(&info.name);
            }
            (core.table.place(&id), core.table.runs_there(&id))
        };
        match place {
            Some(Place::Ended(status)) => return Ok(Answer::Ended { status }),
            Some(Place::Parked(file)) => {
                return Err(Failure::refused(format!("{name} sleeps in {file}."))
                    .next(format!("Wake it with `roam resume {name}`, then wait again.")));
            }
            Some(Place::Here) => (had_it, unsaid) = (None, None),
            Some(Place::There(machine)) if told => (had_it, unsaid) = (Some(machine), None),
            Some(Place::There(machine)) => had_it = Some(machine),
            None => {}
        }
        let known = place == Some(Place::Here) || told;
        let left = if known {
            GRACE
        } else {
            GRACE.saturating_sub(unsaid.get_or_insert_with(Instant::now).elapsed())
        };
        if left.is_zero() {
            let last = had_it.filter(|machine| agent.core().machines.peer(machine).is_some());
            let Some(machine) = last else { return Err(lost(&name)) };
            if let Some(word) = ask(agent, machine, id).await {
                return word.map_err(|failure| match failure.outcome {
                    Outcome::WrongUse => lost(&name),
                    _ => failure,
                });
            }
            unsaid = None;
            continue;
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| gone())?,
            () = tokio::time::sleep(left), if !known => {}
        }
    }
}

/// The word of the machine that had the session; none if it waits as well, or can't be reached.
async fn ask(agent: &Agent, machine: MachineKey, id: SessionId) -> Option<Result<Answer, Failure>> {
    let request = Request::Act { session: id, action: Action::Wait, hops: MAX_HOPS - 1 };
    let (_say, mut hear) = network::open(agent, machine, &request).await.ok()?;
    match tokio::time::timeout(WORD, frames::expect(&mut hear)).await.ok()?.ok()? {
        Reply::Done(answer) => Some(Ok(answer)),
        Reply::Failed(failure) if failure.outcome == Outcome::Unreachable => None,
        Reply::Failed(failure) => Some(Err(failure)),
        Reply::Progress(_) | Reply::Output { .. } | Reply::Snapshot(_) => None,
    }
}

fn lost(name: &str) -> Failure {
    Failure::undone(format!("{name} is gone; how it ended is not known."))
        .next("Its keeper and its processes were ended from outside, or its machine was switched off.")
}
