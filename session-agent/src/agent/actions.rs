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

use roam_api::agent::{Answer, Input, Reply};
use roam_api::error::Failure;
use roam_api::keeper::{Answer as KeeperAnswer, Reply as KeeperReply, Request as KeeperRequest};
use roam_api::peer::Action;
use roam_api::session::{MachineKey, SessionId};
use roam_link::frames;

use super::keeper::{Keeper, broken, unexpected};
use super::serve::{Channel, gone};
use super::table::Place;
use super::{Agent, requests};
use crate::paths::private_folder;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This user, on this machine.
    Local,
    /// A paired machine.
    Peer(MachineKey),
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
    let _ = (origin, hops);
    let place = agent.core().table.place(&id);
    let result = match (action, place) {
        (_, None) => Err(Failure::wrong_use("The session is not known here any more.")
            .next("`roam list` shows the sessions.")),
        (Action::Wait, _) => wait(agent, id, &mut channel).await,
        (_, Some(Place::There(_))) => Err(Failure::unreachable("The session's machine can't be reached.")),
        (Action::Log { follow }, Some(Place::Here)) => log(agent, id, follow, &mut channel).await,
        (Action::Exec { argv }, Some(Place::Here)) => exec(agent, id, argv, &mut channel).await,
        (Action::Stop, Some(Place::Here)) => to_the_end(agent, id, stop).await,
        (Action::Stop, Some(Place::Ended(_))) => Ok(Answer::Ok),
        (Action::Park { file }, Some(Place::Here)) => {
            to_the_end(agent, id, move |agent, id| park(agent, id, file)).await
        }
        (Action::Resume, Some(Place::Parked(_))) => {
            to_the_end(agent, id, |agent, id| async move { requests::resume(&agent, id).await }).await
        }
        (action, Some(place)) => Err(does_not_fit(agent, id, &action, &place)),
    };
    channel.finish(result).await;
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

/// Waits for the session's end, wherever it goes meanwhile.
async fn wait(agent: &Arc<Agent>, id: SessionId, channel: &mut Channel) -> Result<Answer, Failure> {
    let mut changes = agent.changes();
    loop {
        changes.mark_unchanged();
        match agent.core().table.place(&id) {
            Some(Place::Ended(status)) => return Ok(Answer::Ended { status }),
            None => return Err(Failure::undone("The session is gone; how it ended is not known.")),
            Some(_) => {}
        }
        tokio::select! {
            changed = changes.changed() => changed.map_err(|_| gone())?,
            () = channel.closed() => return Err(gone()),
        }
    }
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
    match keeper_of(&agent, &id).await?.ask(&KeeperRequest::Park { file: file.clone() }).await? {
        KeeperAnswer::Parked { bytes } => {
            agent.change(|core| core.table.park(&id, file.clone()));
            agent.remember();
            super::watch::until_gone(&agent, &id, std::time::Duration::from_secs(5)).await;
            Ok(Answer::Parked { file, bytes })
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
