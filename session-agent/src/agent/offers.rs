//! The target's side of a move, as far as it is the agent's: may it come, and who waits for it.
//!
//! The move itself runs from keeper to keeper. Refused: what the permissions forbid, a session that
//! is here already, and an old copy of a session of which something newer is known here. A source that asks again
//! (it lost its lane, its keeper died past the commit, this agent is a new one) is led to the keeper
//! that has what came of the first time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_api::error::Failure;
use roam_api::keeper::{LaneSecret, Request as KeeperRequest};
use roam_api::peer::{Offer, Reply};
use roam_api::session::{MachineKey, SessionId, SessionState};
use roam_link::lane;

use super::permissions::{Deed, Verdict};
use super::table::Place;
use super::viewers::Asked;
use super::{Agent, keeper, moves, requests, viewers, watch};

/// How long a person may take to answer.
pub const PERSON_TIME: Duration = Duration::from_secs(60);
/// How long a session that was fetched may take until its source offers it.
const FETCH_TIME: Duration = Duration::from_secs(30);

/// An offer that was taken.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// Who offered it.
    pub from: MachineKey,
    /// Whether the person here wants it.
    pub asked: Asked,
}

/// A machine offers a session.
///
/// # Errors
/// The refusal's reason; nothing is left behind then.
pub async fn take(agent: &Arc<Agent>, from: MachineKey, offer: Offer) -> Result<Reply, Failure> {
    let id = offer.info.id;
    let generation = offer
        .info
        .generation
        .checked_add(1)
        .ok_or_else(|| Failure::refused("The offered session's generation is impossible."))?;
    crate::names::check(&offer.info.name, "session")?;
    let runtime = agent.paths.session_runtime(&id);
    let (known, here) = {
        let core = agent.core();
        if core.machines.peer(&from).is_none() {
            return Err(Failure::refused(format!("{} is not paired with this machine.", agent.name)));
        }
        let known = core.table.info(&id).map(|info| (core.table.place(&id), info.generation));
        (known, core.table.here(&id).map(|info| (info.generation, info.state.clone())))
    };
    let by_this_move = here.as_ref().is_some_and(|(here, _)| *here == generation);
    if by_this_move && keeper::alive(&runtime.join("keeper.sock")).await == keeper::Alive::Yes {
        return again(agent, from, &offer, generation, false).await;
    }
    // It has committed this very move, and asks what came of it. That is answered whatever it is allowed by now, or it
    // would keep its copy for ever; but nothing is let in by it.
    let mut asks = moves::is_committed(&offer.info);
    let journal = agent.paths.session_state(&id).join("journal").exists();
    let asked = match known {
        Some((Some(Place::Here), _)) => {
            if !asks {
                judge(agent, from, &offer).await?;
            }
            return Err(Failure::refused(format!("{} is on {} already.", offer.info.name, agent.name)));
        }
        // Nothing new can come of it. But it may have come by this very move and have left or ended since, and the
        // source never heard of it: a keeper knows that from the session's journal, and refuses anything else.
        Some((_, newer)) if newer >= generation && journal => {
            asks = true;
            Asked::Elsewhere
        }
        Some((_, newer)) if newer >= generation => {
            return Err(Failure::refused(format!(
                "{} knows a newer state of {} than the one it is offered.",
                agent.name, offer.info.name
            )));
        }
        // Without a journal nothing of it was ever let in here.
        _ if asks && journal => Asked::Elsewhere,
        _ => judge(agent, from, &offer).await?,
    };
    // What is left of an earlier stay ends in a moment.
    watch::until_gone(agent, &id, Duration::from_secs(10)).await;
    if keeper::alive(&runtime.join("keeper.sock")).await == keeper::Alive::Yes {
        // A keeper that waits for a session says nothing of it.
        let failure = match again(agent, from, &offer, generation, asks).await {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        // It may have waited for an earlier move, whose source could not take that back.
        watch::until_gone(agent, &id, Duration::from_secs(10)).await;
        if keeper::alive(&runtime.join("keeper.sock")).await == keeper::Alive::Yes {
            return Err(failure);
        }
    }
    if watch::lives(&runtime).await {
        watch::follow_left(agent, runtime).await;
        return Err(Failure::refused(format!(
            "An earlier copy of {} has not ended here yet.",
            offer.info.name
        ))
        .next("Try again in a moment."));
    }
    watch::remove_folder(&runtime);

    let (request, secret) = receive(agent, from, &offer, generation, asks);
    // Before the keeper listens: the folder is made by the request that starts it.
    requests::first_request(agent, &runtime, &agent.paths.session_state(&id), &request).await.map_err(
        |failure| Failure {
            // Read at another machine.
            sentence: format!("{} can't take {}. {}", agent.name, offer.info.name, failure.sentence),
            ..failure
        },
    )?;
    lead(agent, from, &offer, asked, &secret, runtime);
    Ok(Reply::Ready { lane: secret, lane_port: agent.network.lane_port })
}

/// Leads the source's lane to the keeper, tells everyone that the session comes, and waits for it.
fn lead(
    agent: &Arc<Agent>,
    from: MachineKey,
    offer: &Offer,
    asked: Asked,
    secret: &LaneSecret,
    runtime: PathBuf,
) {
    let id = offer.info.id;
    agent.change(|core| {
        core.offered.insert(id, Offered { from, asked });
        let info = core.translate(offer.info.clone(), Some(from));
        let shown = moves::first(agent.says(&info), info.host, agent.name.clone());
        core.moves.arrives(id, shown);
    });
    agent.network.expect_lane(secret.token, runtime);
    tokio::spawn(arrive(agent.clone(), id, offer.show));
}

/// What a keeper is told to get ready for, and the secret of the lane.
fn receive(
    agent: &Agent,
    from: MachineKey,
    offer: &Offer,
    generation: u64,
    asks: bool,
) -> (KeeperRequest, LaneSecret) {
    let id = offer.info.id;
    let (from_name, home, most_memory) = {
        let core = agent.core();
        let most_memory = core.machines.peer(&from).and_then(|peer| peer.permissions.most_memory());
        (core.machines.name(&from), core.home_name(&id, &offer.info.home), most_memory)
    };
    let secret = lane::new_secret();
    let identity = requests::identity(agent, id, generation, home);
    let (from, lane) = (from_name, secret.clone());
    let request = if asks {
        KeeperRequest::Questions { identity, from, lane }
    } else {
        KeeperRequest::Receive { identity, from, lane, most_memory }
    };
    (request, secret)
}

/// A keeper of this session is here: the source is to speak with it over a new lane.
async fn again(
    agent: &Arc<Agent>,
    from: MachineKey,
    offer: &Offer,
    generation: u64,
    asks: bool,
) -> Result<Reply, Failure> {
    let id = offer.info.id;
    let first = agent.core().offered.get(&id).copied();
    if first.is_some_and(|first| first.from != from) {
        return Err(Failure::refused(format!(
            "{} is on its way here from another machine.",
            offer.info.name
        )));
    }
    let runtime = agent.paths.session_runtime(&id);
    let (request, secret) = receive(agent, from, offer, generation, asks);
    keeper::Keeper::connect_now(&runtime).await?.ask(&request).await.map_err(|_| {
        Failure::refused(format!("An earlier copy of {} has not ended here yet.", offer.info.name))
            .next("Try again in a moment.")
    })?;
    lead(agent, from, offer, first.map_or(Asked::Elsewhere, |first| first.asked), &secret, runtime);
    Ok(Reply::Ready { lane: secret, lane_port: agent.network.lane_port })
}

/// Whether it may come, and whether the person here wants it.
async fn judge(agent: &Agent, from: MachineKey, offer: &Offer) -> Result<Asked, Failure> {
    let id = offer.info.id;
    let (verdict, machine, fetched) = {
        let mut core = agent.core();
        let fetched = core.fetched.get(&id).copied().filter(|at| at.elapsed() < FETCH_TIME);
        let Some(peer) = core.machines.peer(&from) else {
            return Err(Failure::refused(format!("{} is not paired with this machine.", agent.name)));
        };
        // What its home is, is only its source's word. What was started here has left a folder.
        let started_here = id.home == agent.key() && agent.paths.session_state(&id).exists();
        let wanted = started_here || fetched.is_some();
        let deed = Deed::Receive { memory: offer.info.memory_bytes, wanted };
        let judged = (peer.permissions.judge(deed, id.home == from), peer.name.clone(), fetched);
        // Asked for once, it comes once.
        core.fetched.remove(&id);
        judged
    };
    match verdict {
        Verdict::Yes => Ok(fetched.map_or(Asked::Elsewhere, Asked::Here)),
        Verdict::No(why) => Err(Failure::refused(format!(
            "{} does not take {} from this machine ({why}).",
            agent.name, offer.info.name
        ))
        .next(format!(
            "A person there can change that with `roam allow`; see `roam machines` on {}.",
            agent.name
        ))),
        Verdict::Ask => {
            let text = format!("May {machine} send you {}?", offer.info.name);
            if agent.ask_person(text, PERSON_TIME).await {
                Ok(Asked::Here(Instant::now()))
            } else {
                Err(Failure::refused(format!("Nobody at {} said yes to {}.", agent.name, offer.info.name))
                    .next(format!("Ask the person there, or run there: roam allow {machine} send=always.")))
            }
        }
    }
}

/// Waits until the session runs here, then opens its windows if they were open at the source.
async fn arrive(agent: Arc<Agent>, id: SessionId, show: Option<bool>) {
    let came = came(&agent, &id).await;
    agent.change(|core| core.moves.arrived(&id));
    let asked = agent.core().offered.get(&id).map_or(Asked::Elsewhere, |offered| offered.asked);
    if let (true, Some(view_only)) = (came, show)
        && let Err(failure) = viewers::show_here(&agent, id, view_only, None, asked).await
    {
        tracing::warn!(%failure, "an arrived session can't be shown");
    }
}

/// Waits until the session runs here; false if it does not come.
async fn came(agent: &Agent, id: &SessionId) -> bool {
    let mut changes = agent.changes();
    loop {
        changes.mark_unchanged();
        let state = {
            let core = agent.core();
            core.table.here(id).map(|info| info.state.clone())
        };
        match state {
            Some(SessionState::Receiving { .. } | SessionState::Starting) => {}
            Some(_) => return true,
            // The keeper says nothing of it before it is there.
            None if agent.paths.session_runtime(id).exists() => {}
            None => return false,
        }
        if changes.changed().await.is_err() {
            return false;
        }
    }
}

/// The source says that the session does not come.
pub async fn withdraw(agent: &Agent, from: MachineKey, id: SessionId) {
    let arriving = {
        let mut core = agent.core();
        let offered = core.offered.get(&id).is_some_and(|offered| offered.from == from)
            && core.offered.remove(&id).is_some();
        // A keeper that receives may say nothing of it before the session is there.
        let there = core.table.here(&id).map(|info| info.state.clone());
        offered && there.is_none_or(|state| matches!(state, SessionState::Receiving { .. }))
    };
    if arriving && let Ok(mut keeper) = keeper::Keeper::connect(&agent.paths.session_runtime(&id)).await {
        // Not Stop: meanwhile the session may have arrived, and then it is not the source's to end.
        let _ = keeper.ask(&KeeperRequest::Withdraw).await;
    }
}
