//! What another machine asks of this one: one stream, one request.
//!
//! A machine that is not paired gets this machine's name and may pair; for everything else it gets
//! a refusal. Whether it is paired is asked for each stream, so that unpairing takes effect at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roam_api::agent::Reply as AgentReply;
use roam_api::error::Failure;
use roam_api::keeper::{Answer as KeeperAnswer, Reply as KeeperReply, Request as KeeperRequest};
use roam_api::peer::{Reply, Request};
use roam_api::session::{MachineKey, SessionId, SessionInfo};
use roam_link::endpoint::Link;
use roam_link::frames;
use roam_link::pairing;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::actions::{self, Origin};
use super::keeper::Keeper;
use super::network::{self, Stream};
use super::permissions::{Deed, Verdict};
use super::serve::Channel;
use super::table::Place;
use super::{Agent, offers, viewers};
use crate::names;

/// How long the other side may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// The shortest time between two lists of sessions.
const LIST_PAUSE: Duration = Duration::from_millis(100);

/// Serves one stream.
pub async fn serve(agent: Arc<Agent>, link: Link, (mut say, mut hear): Stream) {
    let request = match tokio::time::timeout(FIRST_WORD, frames::read(&mut hear)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Err(error)) => {
            tracing::debug!(machine = link.key.short(), %error, "a machine said no request");
            return;
        }
        Ok(Ok(None)) | Err(_) => return,
    };
    let key = link.key;
    let paired = agent.core().machines.peer(&key).is_some();
    let reply = match request {
        Request::Hello { .. } => Reply::Name { name: agent.name.clone() },
        Request::PairBegin { name } => or_failed(pair_begin(&agent, key, &name)),
        Request::PairProve { message } => or_failed(pair_prove(&agent, key, &message)),
        Request::PairConfirm { proof } => or_failed(pair_confirm(&agent, &link, &proof)),
        Request::Act { .. } if !paired => {
            let _ = frames::write(&mut say, &AgentReply::Failed(stranger(&agent))).await;
            return;
        }
        _ if !paired => Reply::NotPaired,
        Request::Unpair => {
            agent.forget_machine(&key);
            Reply::Ok
        }
        Request::Watch => {
            if agent.core().unconfirmed.remove(&key) {
                for link in agent.network.all_links(&key) {
                    network::up(&agent, &link);
                }
            }
            return watch(&agent, key, &mut say, &mut hear).await;
        }
        Request::Act { session, action, hops } => {
            let channel = Channel { reader: Box::new(hear), writer: Box::new(say) };
            return actions::serve(&agent, Origin::Peer(key), session, action, hops, channel).await;
        }
        Request::Offer(offer) => or_failed(offers::take(&agent, key, offer).await),
        Request::Withdraw { session } => {
            offers::withdraw(&agent, key, session).await;
            Reply::Ok
        }
        Request::Attach { session, view_only, hops } => {
            return attach(&agent, key, session, view_only, hops, (say, hear)).await;
        }
        Request::ShowHere { session, view_only, title } => {
            or_failed(show_here(&agent, key, session, view_only, title).await)
        }
        Request::HideHere { session } => {
            viewers::hide_here(&agent, &session);
            Reply::Ok
        }
    };
    let _ = frames::write(&mut say, &reply).await;
}

fn or_failed(result: Result<Reply, Failure>) -> Reply {
    result.unwrap_or_else(Reply::Failed)
}

fn stranger(agent: &Agent) -> Failure {
    Failure::refused(format!("This machine is not paired with {}.", agent.name))
        .next("Pair them first, with `roam pair`.")
}

fn pair_begin(agent: &Arc<Agent>, key: MachineKey, name: &str) -> Result<Reply, Failure> {
    names::check(name, "machine")?;
    let begun = agent.change(|core| {
        core.pairing.begin(Instant::now(), key, name, pairing::new_code())?;
        Ok::<_, pairing::PairingError>(core.pairing.deadline())
    });
    let deadline = begun.map_err(|error| pairing_failure(&error))?;
    tracing::info!(machine = name, "a machine asks to be paired; `roam machines` shows the code");
    if let Some(deadline) = deadline {
        let agent = agent.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(deadline.into()).await;
            agent.change(|_| ());
        });
    }
    Ok(Reply::Name { name: agent.name.clone() })
}

fn pair_prove(agent: &Agent, key: MachineKey, message: &[u8]) -> Result<Reply, Failure> {
    let proved = agent.change(|core| core.pairing.prove(Instant::now(), agent.key(), key, message));
    proved.map(|message| Reply::PairMessage { message }).map_err(|error| pairing_failure(&error))
}

fn pair_confirm(agent: &Arc<Agent>, link: &Link, proof: &[u8; 32]) -> Result<Reply, Failure> {
    let confirmed = agent.change(|core| core.pairing.confirm(Instant::now(), agent.key(), link.key, proof));
    let (ours, name) = confirmed.map_err(|error| pairing_failure(&error))?;
    agent.core().unconfirmed.insert(link.key);
    agent.pair_machine(link, &name);
    Ok(Reply::PairMessage { message: ours.to_vec() })
}

fn pairing_failure(error: &pairing::PairingError) -> Failure {
    let mut sentence = format!("{error}.");
    if let Some(first) = sentence.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    let failure = Failure::refused(sentence);
    match error {
        pairing::PairingError::Wrong(1..) => failure.next("Look at the code again, and type it once more."),
        pairing::PairingError::Wrong(_) | pairing::PairingError::Paused(_) => {
            failure.next("Wait a minute, then ask for a new code.")
        }
        pairing::PairingError::NoCode => failure.next("Run `roam pair` without a code first."),
        pairing::PairingError::Busy => failure.next("Try again when that is done."),
        pairing::PairingError::Malformed => failure.next("Update the older of the two machines."),
    }
}

/// Tells a paired machine which sessions are here, now and after every change.
async fn watch(
    agent: &Agent,
    key: MachineKey,
    say: &mut (impl AsyncWrite + Unpin),
    hear: &mut (impl AsyncRead + Unpin),
) {
    let mut changes = agent.changes();
    let mut last = None;
    let mut byte = [0];
    loop {
        changes.mark_unchanged();
        let Some(list) = visible(agent, key) else {
            let _ = frames::write(say, &Reply::NotPaired).await;
            return;
        };
        if last.as_ref() != Some(&list) {
            if frames::write(say, &list).await.is_err() {
                return;
            }
            last = Some(list);
            tokio::time::sleep(LIST_PAUSE).await;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = hear.read(&mut byte) => return,
        }
    }
}

/// What a machine may see; `None` if it is not paired.
fn visible(agent: &Agent, key: MachineKey) -> Option<Reply> {
    let core = agent.core();
    let permissions = &core.machines.peer(&key)?.permissions;
    let sees = |id: &SessionId| permissions.judge(Deed::List, id.home == key) == Verdict::Yes;
    let seen = |list: Vec<SessionInfo>| list.into_iter().filter(|info| sees(&info.id)).collect();
    Some(Reply::Sessions {
        has: seen(core.table.hosted()),
        left: core.table.left().into_iter().filter(|(id, _)| sees(id)).collect(),
        ended: seen(core.table.ended()),
        coming: core
            .moves
            .under_way()
            .filter(|(_, to, _)| *to == key)
            .map(|(id, _, progress)| (id, progress.clone()))
            .collect(),
    })
}

/// Turns the stream into a viewer's.
async fn attach(
    agent: &Agent,
    key: MachineKey,
    session: SessionId,
    view_only: bool,
    hops: u8,
    (mut say, mut hear): Stream,
) {
    let result = match agent.may(key, Deed::Use, &session) {
        Ok(()) => attached(agent, key, session, view_only, hops).await,
        Err(failure) => Err(failure),
    };
    match result {
        Ok(mut other) => {
            if frames::write(&mut say, &Reply::Ok).await.is_ok() {
                let mut viewer = tokio::io::join(&mut hear, &mut say);
                let _ = tokio::io::copy_bidirectional(&mut viewer, &mut other).await;
            }
        }
        Err(failure) => {
            let _ = frames::write(&mut say, &Reply::Failed(failure)).await;
        }
    }
}

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Display messages of a session, for a viewer of another machine.
async fn attached(
    agent: &Agent,
    key: MachineKey,
    session: SessionId,
    view_only: bool,
    hops: u8,
) -> Result<Box<dyn Duplex>, Failure> {
    let place = agent.core().table.place(&session);
    match place {
        Some(Place::Here) => {
            let machine = agent.core().machines.name(&key);
            Ok(Box::new(attach_here(agent, session, machine, view_only).await?))
        }
        Some(Place::There(next)) if next != key && hops > 0 => {
            let (say, hear) = attach_there(agent, next, session, view_only, hops - 1).await?;
            Ok(Box::new(tokio::io::join(hear, say)))
        }
        _ => Err(Failure::wrong_use("The session does not run here any more.")),
    }
}

/// Attaches to a session of this machine; the socket then carries display messages.
///
/// # Errors
/// The keeper's failure.
pub async fn attach_here(
    agent: &Agent,
    session: SessionId,
    machine: String,
    view_only: bool,
) -> Result<tokio::net::UnixStream, Failure> {
    let mut keeper = Keeper::connect(&agent.paths.session_runtime(&session)).await?;
    keeper.say(&KeeperRequest::Attach { machine, view_only }).await?;
    loop {
        match keeper.hear().await? {
            KeeperReply::Done(KeeperAnswer::Ok) => return Ok(keeper.stream),
            KeeperReply::Done(other) => return Err(super::keeper::unexpected(&other)),
            KeeperReply::Failed(failure) => return Err(failure),
            KeeperReply::Progress(_) | KeeperReply::Output { .. } | KeeperReply::Info(_) => {}
        }
    }
}

/// Attaches to a session of another machine; the stream then carries display messages.
///
/// # Errors
/// Unreachable, or the other side's failure.
pub async fn attach_there(
    agent: &Agent,
    machine: MachineKey,
    session: SessionId,
    view_only: bool,
    hops: u8,
) -> Result<Stream, Failure> {
    let (say, mut hear) =
        network::open(agent, machine, &Request::Attach { session, view_only, hops }).await?;
    let name = agent.core().machines.name(&machine);
    match tokio::time::timeout(network::ANSWER_TIME, frames::expect(&mut hear)).await {
        Ok(Ok(Reply::Ok)) => Ok((say, hear)),
        Ok(Ok(Reply::Failed(failure))) => Err(failure),
        Ok(Ok(_)) => Err(Failure::refused(format!("{name} gave an answer that does not fit."))),
        Ok(Err(_)) | Err(_) => Err(Failure::unreachable(format!("{name} stopped answering."))),
    }
}

async fn show_here(
    agent: &Arc<Agent>,
    key: MachineKey,
    session: SessionId,
    view_only: bool,
    title: String,
) -> Result<Reply, Failure> {
    agent.may(key, Deed::OpenWindows, &session)?;
    let title = title.chars().filter(|c| !c.is_control()).take(200).collect();
    viewers::show_here(agent, session, view_only, Some((key, title)), viewers::Asked::Elsewhere).await?;
    Ok(Reply::Ok)
}
