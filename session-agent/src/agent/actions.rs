//! What can be done to one session, wherever it is.
//!
//! ```text
//! client ── action ──> this agent ──> keeper, if the session is here
//!                          └────────> the agent of the machine that has it, else
//! ```
//! Answers come back the way the request went. What must not be left half done (park, resume, stop)
//! runs to its end even if the client leaves; what only listens (wait, log, exec) ends with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_api::agent::{Answer, Input, Reply};
use roam_api::error::Failure;
use roam_api::keeper::{Answer as KeeperAnswer, Reply as KeeperReply, Request as KeeperRequest};
use roam_api::peer::{self, Action};
use roam_api::session::{MachineKey, SessionId};
use roam_link::frames::{self, FrameError};

use super::keeper::{Keeper, broken, unexpected};
use super::moves::Part;
use super::outcome::{self, Question};
use super::permissions::Deed;
use super::serve::{Channel, gone};
use super::table::{Place, Table};
use super::{Agent, moves, network, requests, viewers, waiting};
use crate::paths::private_folder;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This user, on this machine.
    Local,
    /// A paired machine.
    Peer(MachineKey),
}

impl Origin {
    /// As windows are asked for, just now.
    fn asked(self) -> viewers::Asked {
        match self {
            Self::Local => viewers::Asked::Here(Instant::now()),
            Self::Peer(_) => viewers::Asked::Elsewhere,
        }
    }
}

/// Does it, and says the last word.
pub async fn serve(
    agent: &Arc<Agent>,
    origin: Origin,
    id: SessionId,
    action: Action,
    hops: u8,
    mut channel: Channel,
) {
    let result = match allowed(agent, origin, &id, &action) {
        Ok(()) => act(agent, origin, id, action, hops, &mut channel).await,
        Err(failure) => Err(failure),
    };
    channel.finish(result).await;
}

fn allowed(agent: &Agent, origin: Origin, id: &SessionId, action: &Action) -> Result<(), Failure> {
    let Origin::Peer(machine) = origin else { return Ok(()) };
    // Whatever a machine may do here, it may always refuse what is sent to it.
    let comes_to_it = || agent.core().moves.running(id).is_some_and(|run| run.target == machine);
    if *action == Action::CancelSend && comes_to_it() {
        return Ok(());
    }
    agent.may(machine, Deed::Use, id)?;
    match action {
        // Files of this machine are named by its own people.
        Action::Park { file: Some(_) } => {
            Err(Failure::refused("From another machine a session can't be parked in a file of one's choice.")
                .next("Leave --to away."))
        }
        Action::Exec { argv } if argv.is_empty() => Err(Failure::wrong_use("There is no command to run.")),
        _ => Ok(()),
    }
}

async fn act(
    agent: &Arc<Agent>,
    origin: Origin,
    id: SessionId,
    action: Action,
    hops: u8,
    channel: &mut Channel,
) -> Result<Answer, Failure> {
    if let Action::Settle { to } = action {
        let limit = if origin == Origin::Local { outcome::LIMIT } else { outcome::LIMIT_FOR_OTHERS };
        let asked = Question { origin, id, to, hops, joins: true };
        return outcome(agent, asked, limit, channel).await;
    }
    let place = settled_place(agent, origin, &id).await;
    match (action, place) {
        (_, None) => Err(Failure::wrong_use("The session is not known here any more.")
            .next("`roam list` shows the sessions.")),
        (Action::Wait, Some(_)) if origin == Origin::Local => waiting::wait(agent, id, channel).await,
        (action, Some(Place::There(machine))) => {
            forward(agent, origin, machine, id, action, hops, channel).await
        }
        (Action::Wait, Some(_)) => waiting::wait(agent, id, channel).await,
        (Action::Log { follow }, Some(Place::Here)) => log(agent, id, follow, channel).await,
        (Action::Log { .. }, Some(Place::Ended(_)))
            if agent.paths.session_state(&id).join("journal").exists() =>
        {
            log_of_ended(agent, id, channel).await
        }
        (Action::Exec { argv }, Some(Place::Here)) => exec(agent, id, argv, channel).await,
        (Action::Stop, Some(Place::Here)) => to_the_end(agent, id, stop).await,
        (Action::Stop, Some(Place::Ended(_))) => Ok(Answer::Ok),
        (Action::Park { file }, Some(Place::Here)) => {
            to_the_end(agent, id, move |agent, id| park(agent, id, file)).await
        }
        (Action::Resume, Some(Place::Parked(_))) => {
            let asked = origin.asked();
            to_the_end(agent, id, move |agent, id| async move { requests::resume(&agent, id, asked).await })
                .await
        }
        (Action::Send { to, cold }, Some(Place::Here)) => moves::send(agent, id, to, cold, channel).await,
        (Action::CancelSend, Some(Place::Here)) => {
            let source = agent.core().comes_from(&id);
            // What arrives is stopped by the machine that runs the move, so that both ends say the same.
            if let Some(source) = source {
                return forward(agent, origin, source, id, Action::CancelSend, hops, channel).await;
            }
            moves::cancel(agent, &id);
            Ok(Answer::Ok)
        }
        (Action::Hide { on }, Some(Place::Here)) => viewers::hide(agent, id, on).await,
        (action, Some(place)) => Err(does_not_fit(agent, id, &action, &place)),
    }
}

/// How long a session that runs here may take to be known here.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Where the session is. The machine that sent it here may know before this one that it arrived: what this
/// agent hears from its own keeper comes another way. So a request from there waits for that.
async fn settled_place(agent: &Agent, origin: Origin, id: &SessionId) -> Option<Place> {
    wait_for(agent, |table| {
        let place = table.place(id);
        let back =
            matches!((origin, &place), (Origin::Peer(from), Some(Place::There(there))) if from == *there);
        (!back || table.here(id).is_none()).then_some(place)
    })
    .await
    .unwrap_or_else(|| agent.core().table.place(id))
}

/// Waits until the table has it; none if that takes too long.
pub(super) async fn wait_for<T>(agent: &Agent, mut has: impl FnMut(&Table) -> Option<T>) -> Option<T> {
    let mut changes = agent.changes();
    let look = async {
        loop {
            changes.mark_unchanged();
            if let Some(found) = has(&agent.core().table) {
                return Some(found);
            }
            if changes.changed().await.is_err() {
                return None;
            }
        }
    };
    tokio::time::timeout(HEARD_WITHIN, look).await.ok().flatten()
}

/// Asks the machine that has the session, or knows who has it.
async fn forward(
    agent: &Arc<Agent>,
    origin: Origin,
    machine: MachineKey,
    id: SessionId,
    action: Action,
    hops: u8,
    channel: &mut Channel,
) -> Result<Answer, Failure> {
    if hops == 0 || origin == Origin::Peer(machine) {
        return Err(Failure::wrong_use("Nobody knows where the session is now.")
            .next("`roam list` shows the sessions that can be reached."));
    }
    let sends = match &action {
        Action::Send { to, .. } => Some(*to),
        _ => None,
    };
    if let Some(to) = sends {
        let mut core = agent.core();
        let name = core.table.info(&id).map(|info| agent.says(info)).unwrap_or_default();
        let to = if to == agent.key() { agent.name.clone() } else { core.machines.name(&to) };
        let shown = moves::first(name, core.machines.name(&machine), to);
        core.moves.begin(id, shown, Part::Asked);
    }
    let takes_input = matches!(action, Action::Exec { .. });
    let request = peer::Request::Act { session: id, action, hops: hops - 1 };
    let result = match network::open(agent, machine, &request).await {
        Ok(stream) => match relay(agent, id, stream, takes_input, channel).await {
            Ok(answered) => answered,
            Err(error) => match sends {
                Some(to) => {
                    tracing::info!(session = %id, %error, "a move's answer is lost with the link; looking for its end");
                    let asked = Question { origin, id, to, hops, joins: true };
                    outcome(agent, asked, outcome::LIMIT, channel).await
                }
                None => Err(lost(agent, machine, &error)),
            },
        },
        Err(failure) => Err(failure),
    };
    if sends == Some(agent.key()) && result.is_ok() {
        // Whoever asked may look for it here at once.
        let here = |table: &Table| (table.place(&id) == Some(Place::Here)).then_some(());
        let _ = wait_for(agent, here).await;
    }
    if sends.is_some() {
        let end = match &result {
            Ok(Answer::Moved { report: Some(report), .. }) => Some(Ok(report.clone())),
            Err(failure) => Some(Err(failure.clone())),
            Ok(_) => None,
        };
        agent.change(|core| match end {
            Some(end) => core.moves.end(&id, end, Instant::now()),
            None => core.moves.forget(&id),
        });
    }
    result
}

/// How a move came out whose answer was lost, unless the one who asks leaves before.
async fn outcome(
    agent: &Arc<Agent>,
    asked: Question,
    limit: Duration,
    channel: &mut Channel,
) -> Result<Answer, Failure> {
    tokio::select! {
        found = outcome::find(agent, asked, limit) => found,
        () = channel.closed() => Err(gone()),
    }
}

fn lost(agent: &Agent, machine: MachineKey, error: &FrameError) -> Failure {
    let name = agent.core().machines.name(&machine);
    Failure::unreachable(format!("{name} can't be reached any more: {error}."))
        .next("What was begun there may go on; `roam list` shows it when the machine is back.")
}

/// The other machine's answer.
///
/// # Errors
/// If the link broke before it came.
async fn relay(
    agent: &Agent,
    id: SessionId,
    (mut say, mut hear): network::Stream,
    takes_input: bool,
    channel: &mut Channel,
) -> Result<Result<Answer, Failure>, FrameError> {
    let Channel { reader, writer } = channel;
    let input = async {
        if !takes_input {
            let _ = tokio::io::AsyncReadExt::read(reader, &mut [0]).await;
            return;
        }
        while let Ok(Some(input)) = frames::read::<Input>(reader).await {
            if frames::write(&mut say, &input).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let output = async {
        loop {
            match frames::expect(&mut hear).await {
                Ok(Reply::Done(answer)) => return Ok(Ok(answer)),
                Ok(Reply::Failed(failure)) => return Ok(Err(failure)),
                Ok(reply) => {
                    if let Reply::Progress(progress) = &reply {
                        agent.change(|core| core.moves.progress(&id, progress));
                    }
                    if frames::write(writer, &reply).await.is_err() {
                        return Ok(Err(gone()));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    };
    tokio::select! {
        result = output => result,
        () = input => Ok(Err(gone())),
    }
}

fn does_not_fit(agent: &Agent, id: SessionId, action: &Action, place: &Place) -> Failure {
    let name = agent.core().table.info(&id).map_or_else(|| id.to_string(), |info| info.name.clone());
    match place {
        Place::Parked(file) => Failure::refused(format!("{name} sleeps in {file}."))
            .next(format!("Wake it first: roam resume {name}.")),
        Place::Ended(status) => Failure::refused(format!("{name} has ended (status {status}).")),
        Place::Here | Place::There(_) if *action == Action::Resume => {
            Failure::refused(format!("{name} is awake already."))
        }
        Place::Here | Place::There(_) => Failure::refused(format!("This can't be done to {name} now.")),
    }
}

/// Runs something in a task of its own, so that it ends even if the client leaves.
async fn to_the_end<F: Future<Output = Result<Answer, Failure>> + Send + 'static>(
    agent: &Arc<Agent>,
    id: SessionId,
    what: impl FnOnce(Arc<Agent>, SessionId) -> F,
) -> Result<Answer, Failure> {
    let task = tokio::spawn(what(agent.clone(), id));
    task.await.unwrap_or_else(|_| Err(Failure::undone("The agent failed inside. Its log says more.")))
}

async fn keeper_of(agent: &Agent, id: &SessionId) -> Result<Keeper, Failure> {
    Keeper::connect(&agent.paths.session_runtime(id)).await
}

async fn log(agent: &Agent, id: SessionId, follow: bool, channel: &mut Channel) -> Result<Answer, Failure> {
    let mut keeper = keeper_of(agent, &id).await?;
    keeper.say(&KeeperRequest::Log { follow }).await?;
    loop {
        let reply = tokio::select! {
            reply = keeper.hear() => reply?,
            () = channel.closed() => return Err(gone()),
        };
        match reply {
            KeeperReply::Output { stream, bytes } => channel.say(&Reply::Output { stream, bytes }).await?,
            KeeperReply::Done(_) => return Ok(Answer::Ok),
            KeeperReply::Failed(failure) => return Err(failure),
            KeeperReply::Progress(_) | KeeperReply::Info(_) => {}
        }
    }
}

/// Its keeper stays for a minute after the end; later another one is started to read what is kept.
async fn log_of_ended(agent: &Arc<Agent>, id: SessionId, channel: &mut Channel) -> Result<Answer, Failure> {
    let (runtime, state) = (agent.paths.session_runtime(&id), agent.paths.session_state(&id));
    if Keeper::connect_now(&runtime).await.is_ok() {
        return log(agent, id, false, channel).await;
    }
    drop(super::spawn::keeper(&runtime, &state).await?);
    let result = log(agent, id, false, channel).await;
    tokio::spawn(super::watch::clean_up(agent.clone(), runtime, state));
    result
}

/// Runs a command in the session. The client's input and the command's output flow side by side.
async fn exec(
    agent: &Agent,
    id: SessionId,
    argv: Vec<Vec<u8>>,
    channel: &mut Channel,
) -> Result<Answer, Failure> {
    let mut keeper = keeper_of(agent, &id).await?;
    keeper.say(&KeeperRequest::Exec { argv }).await?;
    let (mut hear, mut say) = keeper.stream.into_split();
    let Channel { reader, writer } = channel;
    let input = async {
        loop {
            // Garbage from the client ends this conversation and nothing else.
            let Ok(Some(input)) = frames::read::<Input>(reader).await else { return };
            if frames::write(&mut say, &input).await.is_err() {
                // The command's end is on its way; it is told by the other direction.
                std::future::pending::<()>().await;
            }
        }
    };
    let output = async {
        loop {
            match frames::expect(&mut hear).await.map_err(|error| broken(&error))? {
                KeeperReply::Output { stream, bytes } => {
                    frames::write(writer, &Reply::Output { stream, bytes }).await.map_err(|_| gone())?;
                }
                KeeperReply::Done(KeeperAnswer::Ended { status }) => return Ok(Answer::Ended { status }),
                KeeperReply::Done(other) => return Err(unexpected(&other)),
                KeeperReply::Failed(failure) => return Err(failure),
                KeeperReply::Progress(_) | KeeperReply::Info(_) => {}
            }
        }
    };
    tokio::select! {
        result = output => result,
        () = input => Err(gone()),
    }
}

async fn stop(agent: Arc<Agent>, id: SessionId) -> Result<Answer, Failure> {
    keeper_of(&agent, &id).await?.ask(&KeeperRequest::Stop).await?;
    Ok(Answer::Ok)
}

async fn park(agent: Arc<Agent>, id: SessionId, file: Option<String>) -> Result<Answer, Failure> {
    let file = match file {
        Some(file) => file,
        None => default_file(&agent, id)?,
    };
    if Path::new(&file).exists() {
        return Err(Failure::refused(format!("{file} exists already.")).next("Choose another file."));
    }
    let mut keeper = keeper_of(&agent, &id).await?;
    let Some(generation) = agent.change(|core| core.table.begin_to_park(&id, &file)) else {
        return Err(Failure::refused("The session is being put to sleep already."));
    };
    agent.remember();
    let answer = keeper.ask(&KeeperRequest::Park { file: file.clone() }).await;
    agent.change(|core| match &answer {
        Ok(KeeperAnswer::Parked(_)) => core.table.park(&id, generation, file.clone()),
        _ => core.table.not_parked(&id),
    });
    agent.remember();
    match answer? {
        KeeperAnswer::Parked(report) => {
            super::watch::until_gone(&agent, &id, std::time::Duration::from_secs(5)).await;
            Ok(Answer::Parked { file, report })
        }
        other => Err(unexpected(&other)),
    }
}

fn default_file(agent: &Agent, id: SessionId) -> Result<String, Failure> {
    let folder = agent.paths.state.join("parked");
    private_folder(&folder)?;
    let name = agent.core().table.info(&id).map(|info| info.name.clone()).unwrap_or_default();
    let file = folder.join(format!("{name}-{:08x}.roam", rand::random::<u32>()));
    file.into_os_string().into_string().map_err(|path| {
        Failure::refused(format!("The path {} is not written in UTF-8.", path.to_string_lossy()))
            .next("Say where to park with --to.")
    })
}
