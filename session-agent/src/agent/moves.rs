//! The source's side of a move, as far as it is the agent's: find the target, get its leave, tell
//! the keeper to go, and tell everyone who asks how far it is.
//!
//! A move runs in a task of its own. Whoever asked for it may cancel by leaving; whoever only joined
//! may not. What became of it is the keeper's word; if the keeper dies over it, [`super::outcome`] asks
//! the one that takes its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_api::agent::{Answer, MoveInfo, Reply};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer as KeeperAnswer, Reply as KeeperReply, Request as KeeperRequest};
use roam_api::peer::{self, Offer};
use roam_api::session::{
    MachineKey, MoveProgress, MoveReport, MoveStage, SessionId, SessionInfo, SessionState,
};
use tokio::sync::watch;

use super::actions::Origin;
use super::keeper::{Keeper, unexpected};
use super::outcome::Question;
use super::serve::{Channel, gone};
use super::{Agent, actions, network, offers, outcome, viewers};

/// How long the end of a move is shown.
pub const SHOWN_AFTER: Duration = Duration::from_secs(60);
/// How many moves are remembered at a time.
const MAX_SHOWN: usize = 64;
/// Between two looks for moves that nobody has confirmed.
const SETTLE_PAUSE: Duration = Duration::from_secs(3);

/// All moves that are shown. Pure.
#[derive(Debug, Default)]
pub struct Moves {
    list: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    id: SessionId,
    info: MoveInfo,
    ended_at: Option<Instant>,
    part: Part,
}

/// What this agent has to do with a move.
#[derive(Debug, Clone)]
pub enum Part {
    /// It runs it: the session is here.
    Runs(Run),
    /// Its person asked for it; the session is elsewhere.
    Asked,
    /// The session comes here, and nobody here asked.
    Target,
}

/// A handle to a move that this agent runs.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where to.
    pub target: MachineKey,
    progress: watch::Receiver<MoveInfo>,
    cancel: Arc<tokio::sync::Notify>,
}

impl Moves {
    /// A move began.
    pub fn begin(&mut self, id: SessionId, info: MoveInfo, part: Part) {
        self.list.retain(|record| record.id != id);
        if self.list.len() >= MAX_SHOWN {
            self.list.remove(0);
        }
        self.list.push(Record { id, info, ended_at: None, part });
    }

    /// A session is on its way here. Whoever asked for that here sees it already.
    pub fn arrives(&mut self, id: SessionId, info: MoveInfo) {
        if !self.list.iter().any(|record| record.id == id && record.ended_at.is_none()) {
            self.begin(id, info, Part::Target);
        }
    }

    /// It is here, or does not come any more; which of them, its state says.
    pub fn arrived(&mut self, id: &SessionId) {
        self.list.retain(|record| record.id != *id || !matches!(record.part, Part::Target));
    }

    /// How far the moves are that this agent runs, and where they go.
    pub fn under_way(&self) -> impl Iterator<Item = (SessionId, MachineKey, &MoveProgress)> {
        let living = self.list.iter().filter(|record| record.ended_at.is_none());
        living.filter_map(|record| match &record.part {
            Part::Runs(run) => Some((record.id, run.target, &record.info.progress)),
            Part::Asked | Part::Target => None,
        })
    }

    /// A move went on.
    pub fn progress(&mut self, id: &SessionId, progress: &MoveProgress) {
        if let Some(record) = self.list.iter_mut().find(|r| r.id == *id && r.ended_at.is_none()) {
            record.info.progress = progress.clone();
        }
    }

    /// A move ended.
    pub fn end(&mut self, id: &SessionId, end: Result<MoveReport, Failure>, now: Instant) {
        if let Some(record) = self.list.iter_mut().find(|r| r.id == *id && r.ended_at.is_none()) {
            record.info.end = Some(end);
            record.ended_at = Some(now);
        }
    }

    /// Nothing had to be moved.
    pub fn forget(&mut self, id: &SessionId) {
        self.list.retain(|record| record.id != *id);
    }

    /// The move of this session that this agent runs now.
    #[must_use]
    pub fn running(&self, id: &SessionId) -> Option<Run> {
        let record = self.list.iter().find(|record| record.id == *id && record.ended_at.is_none())?;
        if let Part::Runs(run) = &record.part { Some(run.clone()) } else { None }
    }

    /// What the app shows; drops what is too old.
    pub fn list(&mut self, now: Instant) -> Vec<MoveInfo> {
        self.list.retain(|r| r.ended_at.is_none_or(|at| now.saturating_duration_since(at) < SHOWN_AFTER));
        self.list.iter().map(|record| record.info.clone()).collect()
    }
}

/// The first sign of a move.
#[must_use]
pub fn first(session: String, from: String, to: String) -> MoveInfo {
    let progress = MoveProgress { stage: MoveStage::Offer, bytes_sent: 0, bytes_total: 0, elapsed_ms: 0 };
    MoveInfo { session, from, to, progress, end: None }
}

/// Moves a session of this machine, and tells the client how far it is.
///
/// # Errors
/// Why it did not move, and whether anything changed.
pub async fn send(
    agent: &Arc<Agent>,
    id: SessionId,
    to: MachineKey,
    cold: bool,
    channel: &mut Channel,
) -> Result<Answer, Failure> {
    if to == agent.key() {
        return Ok(Answer::Moved { from: agent.name.clone(), to: agent.name.clone(), report: None });
    }
    let (mut run, ours) = start(agent, id, to, cold)?;
    let from = agent.name.clone();
    let to = agent.core().machines.name(&to);
    let mut told: Option<MoveProgress> = None;
    loop {
        let now = run.progress.borrow_and_update().clone();
        if told.as_ref() != Some(&now.progress) {
            if channel.say(&Reply::Progress(now.progress.clone())).await.is_err() && ours {
                run.cancel.notify_one();
                return Err(gone());
            }
            told = Some(now.progress);
        }
        match now.end {
            Some(Ok(report)) => return Ok(Answer::Moved { from, to, report: Some(report) }),
            Some(Err(failure)) => return Err(failure),
            None => {}
        }
        tokio::select! {
            changed = run.progress.changed() => if changed.is_err() {
                return Err(Failure::undone("The agent failed inside. Its log says more."));
            },
            () = channel.closed() => {
                if ours {
                    run.cancel.notify_one();
                }
                return Err(gone());
            }
        }
    }
}

/// The end of a move to this machine that this agent runs; none if it goes elsewhere.
pub async fn end_of(agent: &Agent, mut run: Run, to: MachineKey) -> Option<Result<Answer, Failure>> {
    if run.target != to {
        return None;
    }
    let shown = run.progress.wait_for(|shown| shown.end.is_some()).await.ok()?.clone();
    let (from, to) = (agent.name.clone(), agent.core().machines.name(&to));
    Some(shown.end?.map(|report| Answer::Moved { from, to, report: Some(report) }))
}

/// Settles what is committed and not confirmed: by a keeper that lost its lane, or one that took a dead
/// one's place. Asks the target for a new lane, again and again, as long as the agent runs. A move
/// that this agent still runs gets one as well, if it takes longer than a commit does.
pub async fn settle_all(agent: Arc<Agent>) {
    let mut seen: Vec<(SessionId, MachineKey)> = Vec::new();
    let mut changes = agent.changes();
    loop {
        changes.mark_unchanged();
        let open: Vec<(SessionId, MachineKey)> = {
            let core = agent.core();
            let committed = |info: &SessionInfo| match &info.state {
                SessionState::Sending { to, stage: MoveStage::Commit } => {
                    Some((info.id, core.machines.resolve_peer(to).ok()?))
                }
                _ => None,
            };
            core.table.kept().filter_map(committed).collect()
        };
        for (id, to) in &open {
            if agent.network.link(to).is_none() {
                continue;
            }
            let runs = agent.core().moves.running(id).is_some();
            if !runs {
                let settled = start(&agent, *id, *to, false);
                tracing::info!(session = %id, started = settled.is_ok(), "a move that is not confirmed is asked about");
            } else if seen.contains(&(*id, *to)) {
                tracing::info!(session = %id, "a move that is not confirmed gets another lane");
                tokio::spawn(renew_lane(agent.clone(), *id, *to));
            }
        }
        seen = open;
        // Nothing to settle is nothing to look for.
        if seen.is_empty() && changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

/// Asks a running move to stop. Without effect if there is none, or after its commit.
pub fn cancel(agent: &Agent, id: &SessionId) {
    if let Some(run) = agent.core().moves.running(id) {
        run.cancel.notify_one();
    }
}

fn start(agent: &Arc<Agent>, id: SessionId, to: MachineKey, cold: bool) -> Result<(Run, bool), Failure> {
    let mut core = agent.core();
    let to_name = core.machines.name(&to);
    if core.machines.peer(&to).is_none() {
        return Err(Failure::refused(format!("{} is not paired with {to_name}.", agent.name))
            .next(format!("Pair them first, on {}: roam pair {to_name}.", agent.name)));
    }
    // As the keeper here has it: a move that is not confirmed may run at the target for long.
    let info = core.table.here(&id).cloned().ok_or_else(|| Failure::wrong_use("The session is gone."))?;
    if let Some(run) = core.moves.running(&id) {
        return if run.target == to {
            Ok((run, false))
        } else {
            Err(Failure::refused(format!("{} is on its way to another machine already.", info.name))
                .next("Wait until it is there, or cancel that first."))
        };
    }
    // Names change hands: which machine it went to, its keeper knows.
    if let SessionState::Sending { to: went, .. } = &info.state
        && is_committed(&info)
        && core.machines.resolve_peer(went).is_ok_and(|key| key != to)
    {
        return Err(Failure::refused(format!(
            "{} went to {went}, which has not confirmed it yet.",
            info.name
        ))
        .next(format!("Bring {went} into reach: it is asked until it answers.")));
    }
    let shown = first(agent.says(&info), agent.name.clone(), to_name);
    let (tell, progress) = watch::channel(shown.clone());
    let run = Run { target: to, progress, cancel: Arc::new(tokio::sync::Notify::new()) };
    core.moves.begin(id, shown, Part::Runs(run.clone()));
    drop(core);
    agent.change(|_| ());
    let (agent, cancel) = (agent.clone(), run.cancel.clone());
    tokio::spawn(async move {
        let end = carry_out(&agent, &info, to, cold, &tell, &cancel).await;
        if end.as_ref().is_err_and(|failure| failure.outcome != Outcome::Unconfirmed) {
            // Whoever is told so and looks finds the session as before: its keeper says that another way.
            let still = |info: &SessionInfo| matches!(info.state, SessionState::Sending { .. });
            let _ =
                actions::wait_for(&agent, |table| (!table.here(&id).is_some_and(still)).then_some(())).await;
        }
        if let Err(failure) = &end {
            tracing::info!(session = info.name, %failure, "a move failed");
        }
        agent.change(|core| core.moves.end(&id, end.clone(), Instant::now()));
        tell.send_modify(|shown| shown.end = Some(end));
        tokio::time::sleep(SHOWN_AFTER).await;
        agent.change(|_| ());
    });
    Ok((run, true))
}

async fn carry_out(
    agent: &Arc<Agent>,
    info: &SessionInfo,
    to: MachineKey,
    cold: bool,
    tell: &watch::Sender<MoveInfo>,
    cancel: &tokio::sync::Notify,
) -> Result<MoveReport, Failure> {
    let id = info.id;
    let committed = is_committed(info);
    let request = tokio::select! {
        offered = offer(agent, info, to, cold) => match offered {
            Ok(request) => request,
            // The target may run it, or have all of it: it is asked again, and told nothing else.
            Err(failure) if committed => return Err(open(info, failure)),
            Err(failure) => {
                if failure.outcome == Outcome::FailedAndUndone {
                    // It may have begun to wait for the session.
                    withdraw(agent, to, id);
                }
                return Err(failure);
            }
        },
        () = cancel.notified() => {
            if committed {
                return Err(open(info, Failure::undone("The move can't be cancelled any more.")));
            }
            withdraw(agent, to, id);
            return Err(cancelled(info));
        }
    };
    let runtime = agent.paths.session_runtime(&id);
    let result = match ask_keeper(agent, &runtime, &id, &request, tell, cancel).await {
        Ok(answered) => answered,
        Err(lost) => {
            tracing::warn!(session = info.name, %lost, "a keeper was lost over a move");
            let asked = Question { origin: Origin::Local, id, to, hops: peer::MAX_HOPS, joins: false };
            let found = outcome::find(agent, asked, outcome::LIMIT).await;
            Err(found.err().unwrap_or_else(|| Failure::undone("The move ended unexpectedly.")))
        }
    };
    match &result {
        Ok(_) => {
            let to_name = agent.core().machines.name(&to);
            agent.change(|core| core.table.moved_away(&id, to, &to_name, info.generation + 1));
            agent.remember();
            viewers::left(agent, &id);
        }
        Err(failure) if matches!(failure.outcome, Outcome::FailedAndUndone | Outcome::Refused) => {
            withdraw(agent, to, id);
        }
        Err(_) => {}
    }
    result
}

/// Gets the target's leave; returns what the keeper is to be told then.
async fn offer(
    agent: &Arc<Agent>,
    info: &SessionInfo,
    to: MachineKey,
    cold: bool,
) -> Result<KeeperRequest, Failure> {
    let shown_here = info.shown_on.iter().find(|shown| shown.machine == agent.name);
    let offer = Offer { info: info.clone(), show: shown_here.map(|shown| shown.view_only) };
    // A person over there may have to be asked first.
    let limit = offers::PERSON_TIME + network::ANSWER_TIME;
    let silent = |failure: Failure, undone: bool| match failure.outcome {
        _ if is_committed(info) => failure,
        Outcome::Unreachable if undone => {
            Failure::undone(format!("{} {} still runs on {}.", failure.sentence, info.name, agent.name))
                .next("Try again when that machine is back.")
        }
        Outcome::FailedAndUndone => Failure::undone(format!(
            "{} could not get ready: {} {} still runs on {}.",
            agent.core().machines.name(&to),
            failure.sentence,
            info.name,
            agent.name
        ))
        .next("Try again."),
        _ => failure,
    };
    let request = peer::Request::Offer(offer);
    let stream = network::open(agent, to, &request).await.map_err(|failure| silent(failure, false))?;
    let (lane, lane_port) = match network::answer(agent, to, stream, limit).await {
        Ok(peer::Reply::Ready { lane, lane_port }) => (lane, lane_port),
        Ok(_) => return Err(Failure::refused("The other machine gave an answer that does not fit.")),
        Err(failure) => return Err(silent(failure, true)),
    };
    let (to_name, mut addresses) = {
        let core = agent.core();
        (core.machines.name(&to), core.machines.addresses(&to))
    };
    // Where the link is just now comes first.
    if let Some(link) = agent.network.link(&to) {
        addresses.insert(0, link.remote());
    }
    let mut lanes: Vec<String> = vec![];
    for mut address in addresses {
        address.set_port(lane_port);
        let text = address.to_string();
        if !lanes.contains(&text) {
            lanes.push(text);
        }
    }
    Ok(KeeperRequest::Send { to: to_name, to_key: to, addresses: lanes, lane, cold })
}

/// Leads a keeper that waits for the target's confirmation to whoever can give it now.
async fn renew_lane(agent: Arc<Agent>, id: SessionId, to: MachineKey) {
    let Some(info) = agent.core().table.here(&id).cloned() else { return };
    if let Ok(request) = offer(&agent, &info, to, false).await
        && let Ok(mut keeper) = Keeper::connect_now(&agent.paths.session_runtime(&id)).await
    {
        // What comes of it is told to whoever asked for the move.
        let _ = keeper.ask(&request).await;
    }
}

/// The keeper's answer.
///
/// # Errors
/// If it went away without one.
async fn ask_keeper(
    agent: &Agent,
    runtime: &std::path::Path,
    id: &SessionId,
    request: &KeeperRequest,
    tell: &watch::Sender<MoveInfo>,
    cancel: &tokio::sync::Notify,
) -> Result<Result<MoveReport, Failure>, Failure> {
    let mut keeper = Keeper::connect(runtime).await?;
    keeper.say(request).await?;
    let mut cancelling = false;
    loop {
        let reply = tokio::select! {
            reply = keeper.hear() => reply?,
            () = cancel.notified(), if !cancelling => {
                cancelling = true;
                if let Ok(mut other) = Keeper::connect(runtime).await {
                    let _ = other.ask(&KeeperRequest::CancelSend).await;
                }
                continue;
            }
        };
        match reply {
            KeeperReply::Progress(progress) => {
                agent.change(|core| core.moves.progress(id, &progress));
                tell.send_modify(|shown| shown.progress = progress);
            }
            KeeperReply::Done(KeeperAnswer::Moved(report)) => return Ok(Ok(report)),
            KeeperReply::Done(other) => return Ok(Err(unexpected(&other))),
            KeeperReply::Failed(failure) => return Ok(Err(failure)),
            KeeperReply::Info(_) | KeeperReply::Output { .. } => {}
        }
    }
}

fn cancelled(info: &SessionInfo) -> Failure {
    Failure::undone(format!("The move was cancelled. {} still runs where it was.", info.name))
}

/// Whether the session belongs to the target of its move by now, or may.
pub fn is_committed(info: &SessionInfo) -> bool {
    matches!(info.state, SessionState::Sending { stage: MoveStage::Commit | MoveStage::Activate, .. })
}

/// The target of a committed move could not even be asked, for this reason.
fn open(info: &SessionInfo, why: Failure) -> Failure {
    let sentence = format!("{} {} was moved there, which is not confirmed yet.", why.sentence, info.name);
    let open = Failure::new(Outcome::Unconfirmed, sentence);
    open.next(
        why.next_step.unwrap_or_else(|| "It is asked until it answers; nothing is lost meanwhile.".into()),
    )
}

/// Tells the target that nothing comes, in the background.
fn withdraw(agent: &Arc<Agent>, to: MachineKey, session: SessionId) {
    let agent = agent.clone();
    tokio::spawn(async move {
        let request = peer::Request::Withdraw { session };
        let _ = network::ask(&agent, to, &request, network::ANSWER_TIME).await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId { home: MachineKey([1; 32]), number: 1 };

    #[test]
    fn a_move_is_shown_until_a_while_after_its_end() {
        let now = Instant::now();
        let mut moves = Moves::default();
        moves.begin(ID, first("vim".into(), "desk".into(), "laptop".into()), Part::Asked);
        let progress =
            MoveProgress { stage: MoveStage::PreCopy, bytes_sent: 1, bytes_total: 2, elapsed_ms: 3 };
        moves.progress(&ID, &progress);
        assert_eq!(moves.list(now)[0].progress, progress);
        moves.end(&ID, Err(Failure::undone("x")), now);
        // Nothing changes what has ended.
        moves.progress(&ID, &MoveProgress { bytes_sent: 9, ..progress.clone() });
        moves.end(&ID, Err(Failure::undone("y")), now + SHOWN_AFTER);
        let shown = moves.list(now + SHOWN_AFTER / 2);
        assert_eq!(shown[0].progress, progress);
        assert_eq!(shown[0].end, Some(Err(Failure::undone("x"))));
        assert!(moves.list(now + SHOWN_AFTER).is_empty());
    }

    #[test]
    fn a_session_has_one_move_and_the_list_is_bounded() {
        let now = Instant::now();
        let mut moves = Moves::default();
        for number in 0..200 {
            let id = SessionId { number, ..ID };
            moves.begin(id, first("a".into(), "b".into(), "c".into()), Part::Asked);
            moves.begin(id, first("a".into(), "b".into(), "d".into()), Part::Asked);
        }
        assert_eq!(moves.list(now).len(), MAX_SHOWN);
        assert!(moves.list(now).iter().all(|shown| shown.to == "d"));
    }
}
