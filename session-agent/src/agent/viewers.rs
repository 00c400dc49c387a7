//! Windows of sessions on this machine's screen: one viewer per session.
//!
//! A viewer is a process with one stream of display messages. For a session of this machine that
//! stream is the keeper's own socket, so that frames may go by shared memory; for any other it is
//! relayed from the link. A viewer keeps nothing, so when its stream ends because the session moved,
//! its keeper died or the link broke, another one is started as soon as the session can be reached.
//! One that the person killed, or that was hidden, is not.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use roam_api::agent::Answer;
use roam_api::display::ENDED_WITH_KEYBOARD;
use roam_api::error::Failure;
use roam_api::keeper::Request as KeeperRequest;
use roam_api::peer;
use roam_api::session::{MachineKey, SessionId, SessionState};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::Notify;

use super::keeper::Keeper;
use super::peer_serve::{attach_here, attach_there};
use super::table::Place;
use super::{Agent, network};
use crate::paths::program;

/// How long a session that vanished from the screen is waited for.
const COME_BACK: Duration = Duration::from_secs(60);

/// How often in a row a viewer may end at once before it is given up.
const MAX_SHORT_LIVES: u32 = 5;

/// A session that is shown here.
#[derive(Debug, Clone)]
pub struct Viewer {
    view_only: bool,
    end: Arc<Notify>,
}

/// Who asked for a session's windows on this screen. It decides whether they take the keyboard when they
/// come: a person who asked for them here wants to go on there; nobody else's wish may end in what the
/// person types here going somewhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The person at this machine, then.
    Here(Instant),
    /// Another machine, or nobody.
    Elsewhere,
}

/// The machine to ask, and the title, for a session that is not known here.
pub type Via = Option<(MachineKey, String)>;

/// Shows a session's windows on this machine.
///
/// # Errors
/// If it has no windows, there is no screen here, or it can't be reached.
pub async fn show_here(
    agent: &Arc<Agent>,
    id: SessionId,
    view_only: bool,
    via: Via,
    asked: Asked,
) -> Result<(), Failure> {
    let shown = agent.core().viewers.get(&id).cloned();
    let asleep = matches!(agent.core().table.place(&id), Some(Place::Parked(_)));
    match shown {
        // The viewer waits for it to wake; whoever asks is told so below.
        _ if asleep => {}
        Some(viewer) if viewer.view_only == view_only => return Ok(()),
        Some(_) => hide_here(agent, &id),
        None => {}
    }
    let child = open(agent, id, view_only, &via, asked).await?;
    let viewer = Viewer { view_only, end: Arc::new(Notify::new()) };
    let replaced = agent.change(|core| core.viewers.insert(id, viewer.clone()));
    if let Some(replaced) = replaced {
        replaced.end.notify_one();
    }
    tokio::spawn(follow(agent.clone(), id, viewer, child, via));
    Ok(())
}

/// Closes a session's windows on this machine.
pub fn hide_here(agent: &Agent, id: &SessionId) {
    if let Some(viewer) = agent.change(|core| core.viewers.remove(id)) {
        viewer.end.notify_one();
    }
}

/// A session of this machine went to another one, and its windows with it.
pub fn left(agent: &Agent, id: &SessionId) {
    hide_here(agent, id);
}

/// `roam show`, asked for by the person here: on this machine, or by asking the one that is meant.
///
/// # Errors
/// The failure of the machine that shall show it.
pub async fn show(
    agent: &Arc<Agent>,
    id: SessionId,
    on: Option<MachineKey>,
    view_only: bool,
) -> Result<Answer, Failure> {
    match on {
        None => show_here(agent, id, view_only, None, Asked::Here(Instant::now())).await?,
        Some(machine) => {
            let title = {
                let core = agent.core();
                core.table.info(&id).map_or_else(String::new, |i| format!("{}@{}", i.name, i.host))
            };
            let request = peer::Request::ShowHere { session: id, view_only, title };
            network::ask(agent, machine, &request, network::ANSWER_TIME).await?;
        }
    }
    Ok(Answer::Ok)
}

/// `roam hide`, at the session's host: asks the machines that show it, then ends what is left.
///
/// # Errors
/// If the keeper is gone.
pub async fn hide(agent: &Agent, id: SessionId, on: Option<MachineKey>) -> Result<Answer, Failure> {
    let machines: Vec<MachineKey> = match on {
        Some(machine) => vec![machine],
        None => {
            let core = agent.core();
            let shown = core.table.info(&id).map(|info| info.shown_on.clone()).unwrap_or_default();
            let key = |name: &str| core.machines.resolve_peer(name).ok();
            let others = shown.iter().filter_map(|shown| key(&shown.machine));
            others.chain([agent.key()]).collect()
        }
    };
    for machine in machines {
        if machine == agent.key() {
            hide_here(agent, &id);
        } else {
            // If it can't be reached, cutting its stream below is all that can be done.
            let request = peer::Request::HideHere { session: id };
            let _ = network::ask(agent, machine, &request, network::ANSWER_TIME).await;
        }
    }
    let machine =
        on.map(|key| if key == agent.key() { agent.name.clone() } else { agent.core().machines.name(&key) });
    Keeper::connect(&agent.paths.session_runtime(&id)).await?.ask(&KeeperRequest::Detach { machine }).await?;
    Ok(Answer::Ok)
}

/// Attaches to the session wherever it is, and starts a viewer on the stream.
async fn open(
    agent: &Arc<Agent>,
    id: SessionId,
    view_only: bool,
    via: &Via,
    asked: Asked,
) -> Result<Child, Failure> {
    let (place, info) = {
        let core = agent.core();
        (core.table.place(&id), core.table.info(&id).cloned())
    };
    let title = match &info {
        Some(info) if !info.screen => {
            return Err(Failure::refused(format!("{} has no windows.", info.name))
                .next("It was started with --no-screen."));
        }
        Some(info) => format!("{}@{}", info.name, info.host),
        None => via.as_ref().map_or_else(|| id.to_string(), |(_, title)| title.clone()),
    };
    if std::env::var_os("DISPLAY").is_none() && std::env::var_os("WAYLAND_DISPLAY").is_none() {
        return Err(Failure::refused(format!("{} has no screen that its agent knows of.", agent.name))
            .next("Start the agent there from within the desktop session: roam agent."));
    }
    let stream = match (&place, via) {
        (Some(Place::Here), _) => attach_here(agent, id, agent.name.clone(), view_only).await?,
        (Some(Place::There(machine)), _) | (None, Some((machine, _))) => {
            let (say, hear) = attach_there(agent, *machine, id, view_only, peer::MAX_HOPS).await?;
            let (ours, theirs) = UnixStream::pair()
                .map_err(|error| Failure::undone(format!("There is no socket for the viewer: {error}.")))?;
            tokio::spawn(async move {
                let (mut far, mut near) = (tokio::io::join(hear, say), ours);
                let _ = tokio::io::copy_bidirectional(&mut far, &mut near).await;
            });
            theirs
        }
        (Some(Place::Parked(_)), _) => {
            let name = info.map_or_else(|| id.to_string(), |info| info.name);
            return Err(Failure::refused(format!("{name} sleeps."))
                .next(format!("Wake it first: roam resume {name}.")));
        }
        _ => return Err(Failure::wrong_use("The session does not run any more.")),
    };
    start(agent, stream, &title, view_only, asked)
}

fn start(
    agent: &Agent,
    stream: UnixStream,
    title: &str,
    view_only: bool,
    asked: Asked,
) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        Failure::undone(format!("The viewer can't be started: {error}.")).next("Install Roam again.")
    };
    let stream = stream.into_std().map_err(failed)?;
    stream.set_nonblocking(false).map_err(failed)?;
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(agent.paths.state.join("viewer.log"))
        .map_err(failed)?;
    // As its standard input, the one descriptor that a child inherits without any race.
    let mut command = tokio::process::Command::new(program("roam-viewer"));
    command.args(["--fd", "0", "--title", title]);
    if view_only {
        command.arg("--view-only");
    }
    if let Asked::Here(at) = asked {
        let since_epoch = UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(at.elapsed());
        command.args(["--asked", &since_epoch.as_millis().to_string()]);
    }
    command
        .stdin(Stdio::from(OwnedFd::from(stream)))
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(failed)
}

/// Stays with a viewer until its session is not to be shown here any more.
async fn follow(agent: Arc<Agent>, id: SessionId, viewer: Viewer, mut child: Child, via: Via) {
    let mut short_lives = 0;
    loop {
        let began = tokio::time::Instant::now();
        let status = tokio::select! {
            status = child.wait() => status,
            () = viewer.end.notified() => {
                let _ = child.start_kill();
                let _ = child.wait().await;
                return;
            }
        };
        // One that a signal ended was meant to end; any other lost its stream.
        let Some(code) = status.ok().and_then(|status| status.code()) else { break };
        // Whoever was typing in it wants to go on with that.
        let in_use = code == i32::from(ENDED_WITH_KEYBOARD);
        let asked = if in_use { Asked::Here(Instant::now()) } else { Asked::Elsewhere };
        // A viewer that ends at once, again and again, won't do better the next time.
        if began.elapsed() < Duration::from_secs(2) {
            short_lives += 1;
            if short_lives > MAX_SHORT_LIVES {
                tracing::warn!(session = %id, "the viewer keeps ending; giving up");
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            short_lives = 0;
        }
        let again = tokio::time::timeout(COME_BACK, reopen(&agent, id, viewer.view_only, &via, asked));
        child = tokio::select! {
            again = again => match again {
                Ok(Some(child)) => child,
                Ok(None) | Err(_) => break,
            },
            () = viewer.end.notified() => return,
        };
    }
    agent.change(|core| {
        if core.viewers.get(&id).is_some_and(|known| Arc::ptr_eq(&known.end, &viewer.end)) {
            core.viewers.remove(&id);
        }
    });
}

/// Waits until the session can be shown again; `None` if it won't be.
async fn reopen(
    agent: &Arc<Agent>,
    id: SessionId,
    view_only: bool,
    via: &Via,
    asked: Asked,
) -> Option<Child> {
    let mut changes = agent.changes();
    loop {
        changes.mark_unchanged();
        let (place, state, moving) = {
            let core = agent.core();
            let state = core.table.info(&id).map(|info| info.state.clone());
            (core.table.place(&id), state, core.moves.running(&id).is_some())
        };
        match (&place, state) {
            (None, _) if via.is_none() => return None,
            (Some(Place::Ended(_) | Place::Parked(_)), _) => return None,
            (Some(_), Some(SessionState::Running)) | (None, _) if !moving => {
                // It was shown from afar and has come: whoever fetched it wants to go on with it.
                let offered = agent.core().offered.get(&id).map(|offered| offered.asked);
                let asked = match (asked, place, offered) {
                    (Asked::Elsewhere, Some(Place::Here), Some(offered)) => offered,
                    _ => asked,
                };
                if let Ok(child) = open(agent, id, view_only, via, asked).await {
                    return Some(child);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            _ => {}
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), changes.changed()).await;
    }
}
