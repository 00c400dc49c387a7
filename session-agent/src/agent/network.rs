//! Connections to other machines: dialled, accepted, kept, and dialled again.
//!
//! One task per paired machine sees to it that there is a connection. The machine with the lower
//! key dials at once, the other a moment later, so that there is mostly one connection and yet one
//! side's firewall hinders nothing. Machines that the person did not name are never dialled.
//!
//! The lane listener is here, too: it reads a routing token and passes the socket to the keeper
//! that waits for it.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use roam_api::codec::encode_frame;
use roam_api::error::Failure;
use roam_api::keeper::Request as KeeperRequest;
use roam_api::peer::{Reply, Request};
use roam_api::session::MachineKey;
use roam_link::discovery::{Discovery, Event};
use roam_link::endpoint::{Endpoint, Link, LinkError};
use roam_link::raw_key::Expect;
use roam_link::{frames, lane};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;

use super::{Agent, peer_serve};

/// A stream to or from another agent: what we say, and what we hear.
pub type Stream = (quinn::SendStream, quinn::RecvStream);

/// How many strangers may hold a connection at a time.
const MAX_STRANGERS: usize = 32;
/// How many lanes may wait for their token at a time.
const MAX_LANES_WAITING: usize = 64;
/// How long a request waits for a connection that is being made.
const DIAL_TIME: Duration = Duration::from_secs(6);
/// How long a question between agents may take that no person answers.
pub const ANSWER_TIME: Duration = Duration::from_secs(20);
/// The longest pause between two dials.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The agent's sockets and connections.
#[derive(Debug)]
pub struct Network {
    /// The UDP socket.
    pub endpoint: Endpoint,
    /// The TCP port of the lane listener.
    pub lane_port: u16,
    links: Mutex<HashMap<MachineKey, Vec<Link>>>,
    /// Which session folder waits for the lane with this token.
    lanes: Mutex<HashMap<[u8; 16], PathBuf>>,
    dial: tokio::sync::Notify,
    strangers: Arc<Semaphore>,
}

impl Network {
    /// Takes the sockets.
    ///
    /// # Errors
    /// If there are none to be had.
    pub async fn bind(
        agent_key: &roam_link::raw_key::RawKey,
        port: u16,
    ) -> std::io::Result<(Self, TcpListener)> {
        let endpoint = Endpoint::bind(agent_key, port)?;
        let same = endpoint.port()?;
        let wishes = [
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), same),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), same),
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        ];
        let listener = TcpListener::bind(&wishes[..]).await?;
        let network = Self {
            endpoint,
            lane_port: listener.local_addr()?.port(),
            links: Mutex::default(),
            lanes: Mutex::default(),
            dial: tokio::sync::Notify::new(),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
        };
        Ok((network, listener))
    }

    fn links(&self) -> MutexGuard<'_, HashMap<MachineKey, Vec<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<[u8; 16], PathBuf>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest connection to a machine.
    #[must_use]
    pub fn link(&self, key: &MachineKey) -> Option<Link> {
        self.links().get(key)?.iter().rev().find(|link| link.is_alive()).cloned()
    }

    /// Lanes with this token belong to the session of this folder.
    pub fn expect_lane(&self, token: [u8; 16], runtime: PathBuf) {
        let mut lanes = self.lanes();
        lanes.retain(|_, folder| folder.exists());
        lanes.insert(token, runtime);
    }

    /// Dials everyone who is not connected, now.
    pub fn dial_now(&self) {
        self.dial.notify_waiters();
    }

    /// All connections to a machine.
    #[must_use]
    pub fn all_links(&self, key: &MachineKey) -> Vec<Link> {
        self.links().get(key).cloned().unwrap_or_default()
    }

    /// Ends every connection to a machine.
    pub fn drop_links(&self, key: &MachineKey) {
        for link in self.links().remove(key).unwrap_or_default() {
            link.close("not paired any more");
        }
    }
}

/// Seconds since the epoch.
#[must_use]
pub fn now_unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Starts everything that listens and dials.
pub fn run(agent: &Arc<Agent>, lanes: TcpListener) {
    let accepting = agent.clone();
    tokio::spawn(async move {
        let endpoint = accepting.network.endpoint.clone();
        endpoint.serve(move |link| accepted(accepting.clone(), link)).await;
    });
    tokio::spawn(serve_lanes(agent.clone(), lanes));
    tokio::spawn(discover(agent.clone()));
    tokio::spawn(super::moves::settle_all(agent.clone()));
    let paired = agent.core().machines.paired();
    for key in paired {
        tokio::spawn(keep_connected(agent.clone(), key));
    }
}

async fn accepted(agent: Arc<Agent>, link: Link) {
    if agent.core().machines.peer(&link.key).is_some() {
        serve_link(agent, link).await;
    } else if let Ok(place) = agent.network.strangers.clone().try_acquire_owned() {
        serve_link(agent, link).await;
        drop(place);
    } else {
        link.close("too many strangers");
    }
}

/// Serves a connection until it is dead.
pub async fn serve_link(agent: Arc<Agent>, link: Link) {
    let key = link.key;
    agent.network.links().entry(key).or_default().push(link.clone());
    up(&agent, &link);
    while let Some(stream) = link.accept().await {
        tokio::spawn(peer_serve::serve(agent.clone(), link.clone(), stream));
    }
    let none_left = {
        let mut links = agent.network.links();
        let rest = links.entry(key).or_default();
        rest.retain(Link::is_alive);
        let empty = rest.is_empty();
        if empty {
            links.remove(&key);
        }
        empty
    };
    if none_left {
        tracing::info!(machine = key.short(), "no connection any more");
        agent.change(|core| {
            core.machines.set_online(key, false, now_unix());
            core.table.lost(key);
        });
        agent.network.dial_now();
    }
}

/// A connection belongs to a paired machine, from the start or since now.
pub fn up(agent: &Arc<Agent>, link: &Link) {
    let paired = agent.change(|core| {
        core.machines.heard(link.key, link.remote(), now_unix());
        core.machines.set_online(link.key, true, now_unix());
        core.machines.peer(&link.key).is_some().then(|| !core.unconfirmed.contains(&link.key))
    });
    if paired.is_some() {
        agent.remember_machines();
    }
    if paired == Some(true) {
        tokio::spawn(watch_peer(agent.clone(), link.clone()));
    }
}

/// Hears from a paired machine which sessions it has, as long as the connection lives.
async fn watch_peer(agent: Arc<Agent>, link: Link) {
    let Ok((mut say, mut hear)) = link.open().await else { return };
    if frames::write(&mut say, &Request::Watch).await.is_err() {
        return;
    }
    let mut first = true;
    loop {
        match frames::read::<Reply>(&mut hear).await {
            Ok(Some(Reply::Sessions { has, left, ended, coming })) => {
                let first = std::mem::take(&mut first);
                agent.change(|core| {
                    if first {
                        let named = has.iter().chain(&ended).map(|info| info.id);
                        let named: Vec<_> = named.chain(left.iter().map(|(id, _)| *id)).collect();
                        core.table.reached(link.key, &named);
                    }
                    let has = has.into_iter().map(|info| core.translate(info, Some(link.key))).collect();
                    let ended = ended.into_iter().map(|info| core.translate(info, Some(link.key))).collect();
                    core.table.heard_there(link.key, has, &left, ended);
                    for (id, progress) in coming {
                        if core.offered.get(&id).is_some_and(|offered| offered.from == link.key) {
                            core.moves.progress(&id, &progress);
                        }
                    }
                });
                agent.remember();
            }
            Ok(Some(Reply::NotPaired)) => {
                tracing::info!(
                    machine = link.key.short(),
                    "the other machine is not paired with this one any more"
                );
                agent.forget_machine(&link.key);
                return;
            }
            Ok(Some(_) | None) | Err(_) => return,
        }
    }
}

/// Sees to it that there is a connection to a paired machine.
pub async fn keep_connected(agent: Arc<Agent>, key: MachineKey) {
    let mut pause = Duration::from_millis(500);
    let mut first = true;
    while agent.core().machines.peer(&key).is_some() {
        if let Some(link) = agent.network.link(&key) {
            link.closed().await;
            pause = Duration::from_millis(500);
            continue;
        }
        let dialled = agent.network.dial.notified();
        if first && agent.key() > key {
            // The other side dials first.
            first = false;
            let _ = tokio::time::timeout(Duration::from_secs(1), dialled).await;
            continue;
        }
        first = false;
        match dial(&agent, key).await {
            // If both sides dialled at once there are two connections. Neither is closed: the other
            // side may be using it already.
            Ok(link) => {
                tracing::info!(machine = key.short(), address = %link.remote(), "connected");
                serve_link(agent.clone(), link).await;
            }
            Err(error) => {
                tracing::debug!(machine = key.short(), %error, "can't be reached");
                let _ = tokio::time::timeout(pause, dialled).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Dials every known address, and begins anew if others become known meanwhile.
async fn dial(agent: &Agent, key: MachineKey) -> Result<Link, LinkError> {
    loop {
        let news = agent.network.dial.notified();
        let addresses = agent.core().machines.addresses(&key);
        let connecting = agent.network.endpoint.connect(&addresses, Expect::Only(key));
        let changed = async {
            news.await;
            while agent.core().machines.addresses(&key) == addresses {
                agent.network.dial.notified().await;
            }
        };
        tokio::select! {
            connected = connecting => return connected,
            () = changed => {}
        }
    }
}

/// Opens a stream to a paired machine and says the request, waiting a little for a connection that
/// is being made.
///
/// # Errors
/// Unreachable.
pub async fn open(agent: &Agent, key: MachineKey, request: &Request) -> Result<Stream, Failure> {
    let name = agent.core().machines.name(&key);
    let unreachable = || {
        Failure::unreachable(format!("{name} can't be reached."))
            .next("Check that it is switched on and in reach; `roam machines` shows when it is back.")
    };
    let mut changes = agent.changes();
    agent.network.dial_now();
    let connected = async {
        loop {
            if let Some(link) = agent.network.link(&key) {
                return Some(link);
            }
            if changes.changed().await.is_err() {
                return None;
            }
        }
    };
    let link = tokio::time::timeout(DIAL_TIME, connected).await.ok().flatten().ok_or_else(unreachable)?;
    let opened = async {
        let (mut say, hear) = link.open().await?;
        frames::write(&mut say, request).await.map_err(std::io::Error::other)?;
        std::io::Result::Ok((say, hear))
    };
    tokio::time::timeout(DIAL_TIME, opened).await.ok().and_then(Result::ok).ok_or_else(unreachable)
}

/// Asks a paired machine something that has one answer.
///
/// # Errors
/// Unreachable, or the other side's failure.
pub async fn ask(
    agent: &Agent,
    key: MachineKey,
    request: &Request,
    limit: Duration,
) -> Result<Reply, Failure> {
    let stream = open(agent, key, request).await?;
    answer(agent, key, stream, limit).await
}

/// The one answer to what a stream was opened with.
///
/// # Errors
/// Unreachable, if it does not come; or the other side's failure.
pub async fn answer(
    agent: &Agent,
    key: MachineKey,
    (_say, mut hear): Stream,
    limit: Duration,
) -> Result<Reply, Failure> {
    let name = agent.core().machines.name(&key);
    match tokio::time::timeout(limit, frames::expect::<Reply>(&mut hear)).await {
        Ok(Ok(Reply::Failed(failure))) => Err(failure),
        Ok(Ok(Reply::NotPaired)) => {
            Err(Failure::refused(format!("{name} is not paired with this machine any more."))
                .next(format!("Pair them again: roam pair {name}.")))
        }
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(Failure::unreachable(format!("{name} stopped answering: {error}."))),
        Err(_) => Err(Failure::unreachable(format!("{name} does not answer."))),
    }
}

async fn discover(agent: Arc<Agent>) {
    let Ok(port) = agent.network.endpoint.port() else { return };
    let mut discovery = match Discovery::start(&agent.name, agent.key(), port) {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::warn!(%error, "machines are not found by themselves: mDNS does not work");
            return;
        }
    };
    loop {
        let event = tokio::select! {
            event = discovery.next() => event,
            () = agent.ending.notified() => break,
        };
        match event {
            Some(Event::Found(found)) => {
                agent.change(|core| core.machines.found(found));
                agent.network.dial_now();
            }
            Some(Event::Lost(key)) => agent.change(|core| core.machines.lost(&key)),
            None => break,
        }
    }
    discovery.stop().await;
    agent.ended.notify_one();
}

async fn serve_lanes(agent: Arc<Agent>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_LANES_WAITING));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a lane can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let agent = agent.clone();
        tokio::spawn(async move {
            if let Err(error) = pass_lane(&agent, stream).await {
                tracing::debug!(%error, "a lane was refused");
            }
            drop(place);
        });
    }
}

async fn pass_lane(agent: &Agent, mut stream: TcpStream) -> Result<(), std::io::Error> {
    let token = lane::read_token(&mut stream).await.map_err(std::io::Error::other)?;
    let runtime = agent.network.lanes().get(&token).cloned();
    let Some(runtime) = runtime else { return Err(std::io::Error::other("nobody waits for this token")) };
    let keeper = UnixStream::connect(runtime.join("keeper.sock")).await?;
    let frame = encode_frame(&KeeperRequest::Lane { token }).map_err(std::io::Error::other)?;
    let stream = stream.into_std()?;
    keeper.writable().await?;
    let sent = keeper.try_io(tokio::io::Interest::WRITABLE, || {
        let descriptors = [stream.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        Ok(sendmsg::<()>(
            keeper.as_raw_fd(),
            &[IoSlice::new(&frame)],
            &control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?)
    })?;
    if sent != frame.len() {
        return Err(std::io::Error::other("the keeper took half a message"));
    }
    // Its answer says that it has the socket; ours may be closed then.
    let (mut hear, _say) = keeper.into_split();
    let _ = tokio::time::timeout(ANSWER_TIME, frames::read::<roam_api::keeper::Reply>(&mut hear)).await;
    Ok(())
}
