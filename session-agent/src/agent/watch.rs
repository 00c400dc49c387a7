//! Following every keeper of this machine.
//!
//! One task per session folder holds a `Watch` conversation with its keeper and tells the table.
//! When the conversation ends, the keeper's socket says why: if it refuses while the pod's init
//! still listens, the keeper has died, and a new one is started and adopts the pod; if init is gone
//! too, the session is over and its sockets' folder is removed. A new agent finds its keepers the
//! same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use roam_api::keeper::{Answer, Reply, Request};
use roam_api::session::{SessionId, SessionInfo};

use super::keeper::{Alive, Keeper, alive};
use super::{Agent, spawn};

/// How long a keeper may be silent before it is taken for one without a session.
const EMPTY_TIME: Duration = Duration::from_secs(3);
/// How long a new agent waits for the keepers that it finds, those without a session included.
const FIRST_WORDS_TIME: Duration = Duration::from_secs(6);
/// How long a pod that was not made to outlive its keeper may take to end after it.
const POD_END_TIME: Duration = Duration::from_secs(2);
/// The longest pause before another keeper is started for a session whose keepers keep dying.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Follows the keepers of all session folders that are there, and waits for their first words.
pub async fn find_again(agent: &Arc<Agent>) {
    let Ok(folders) = std::fs::read_dir(agent.paths.runtime.join("sessions")) else { return };
    let mut first_words = Vec::new();
    for folder in folders.flatten() {
        let (told, first) = tokio::sync::oneshot::channel();
        tokio::spawn(follow(agent.clone(), folder.path(), Some(told), true));
        first_words.push(first);
    }
    // A client must not be told that its session is unknown only because the agent is new, nor may another machine take
    // it for ended because it is missing in the first list.
    let all = async {
        for first in first_words {
            let _ = first.await;
        }
    };
    if tokio::time::timeout(FIRST_WORDS_TIME, all).await.is_err() {
        tracing::warn!("a keeper takes long to answer");
    }
}

/// Follows a keeper that was started just now, and waits until the table knows it.
pub async fn follow_new(agent: &Arc<Agent>, runtime: PathBuf) {
    let (told, first) = tokio::sync::oneshot::channel();
    tokio::spawn(follow(agent.clone(), runtime, Some(told), false));
    let _ = tokio::time::timeout(Duration::from_secs(5), first).await;
}

/// Follows a folder in which a session lives whose keeper died over its first request, and waits until the table knows
/// it: nobody else would start another keeper for it.
pub async fn follow_left(agent: &Arc<Agent>, runtime: PathBuf) {
    let (told, first) = tokio::sync::oneshot::channel();
    tokio::spawn(follow(agent.clone(), runtime, Some(told), true));
    let _ = tokio::time::timeout(Duration::from_secs(5), first).await;
}

/// Follows a keeper that was told just now to receive a session: it has none yet.
pub fn follow_receiving(agent: &Arc<Agent>, runtime: PathBuf) {
    tokio::spawn(follow(agent.clone(), runtime, None, false));
}

type Told = Option<tokio::sync::oneshot::Sender<()>>;

/// One task follows a folder; what comes while it is about to end is followed by it, too.
async fn follow(agent: Arc<Agent>, runtime: PathBuf, mut told: Told, found_again: bool) {
    while agent.core().followed.insert(runtime.clone()) {
        follow_to_the_end(&agent, &runtime, told.take(), found_again).await;
        agent.core().followed.remove(&runtime);
        let (keeper, init) = (runtime.join("keeper.sock"), runtime.join("init.sock"));
        if alive(&keeper).await == Alive::No && alive(&init).await == Alive::No {
            return;
        }
    }
}

async fn follow_to_the_end(agent: &Arc<Agent>, runtime: &Path, mut told: Told, mut found_again: bool) {
    let mut last: Option<SessionInfo> = None;
    let mut restarts = 0;
    loop {
        if listen(agent, runtime, &mut last, &mut told, found_again).await {
            restarts = 0;
        }
        let keeper = alive(&runtime.join("keeper.sock")).await;
        if keeper == Alive::Yes {
            // It closed this one conversation only; do not hammer it.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        }
        if alive(&runtime.join("init.sock")).await == Alive::No {
            break;
        }
        // The pod lives, and with it somebody's work: it is never given up, whatever others say of the session.
        tracing::warn!(folder = %runtime.display(), restarts, "the session's keeper has died; starting another");
        tokio::time::sleep(pause_before(restarts)).await;
        restarts += 1;
        if let Err(failure) = adopt(agent, runtime).await {
            tracing::error!(%failure, "the session could not be taken over");
            // It is tried again.
            found_again = true;
            // One that found its pod gone has nothing to wait for.
            if alive(&runtime.join("init.sock")).await == Alive::No
                && let Ok(mut keeper) = Keeper::connect_now(runtime).await
            {
                let _ = keeper.ask(&Request::Withdraw).await;
            }
        }
    }
    end(agent, runtime, last.as_ref());
}

/// None before the first, then longer and longer.
fn pause_before(restart: u32) -> Duration {
    match restart {
        0 => Duration::ZERO,
        more => (Duration::from_millis(250) * 2u32.saturating_pow(more.min(10))).min(LONGEST_PAUSE),
    }
}

/// One conversation with the keeper. True if it said anything.
async fn listen(
    agent: &Agent,
    runtime: &Path,
    last: &mut Option<SessionInfo>,
    told: &mut Told,
    found_again: bool,
) -> bool {
    let Ok(mut keeper) = Keeper::connect_now(runtime).await else { return false };
    if keeper.say(&Request::Watch).await.is_err() {
        return false;
    }
    let mut heard = false;
    loop {
        let reply = match tokio::time::timeout(EMPTY_TIME, keeper.hear()).await {
            Ok(reply) => reply,
            Err(_) if heard || !found_again => keeper.hear().await,
            // It has no session: the agent that started it died before it could say what for.
            Err(_) => {
                heard = true;
                let adopted = take_over(agent, runtime).await;
                tracing::warn!(folder = %runtime.display(), ?adopted, "a keeper without a session");
                if adopted.is_err() && alive(&runtime.join("init.sock")).await == Alive::Yes {
                    break;
                }
                keeper.hear().await
            }
        };
        let Ok(Reply::Info(info)) = reply else { break };
        heard = true;
        *last = Some(info.clone());
        agent.change(|core| core.table.heard_here(info));
        if let Some(told) = told.take() {
            let _ = told.send(());
        }
    }
    heard
}

async fn adopt(agent: &Agent, runtime: &Path) -> Result<(), roam_api::error::Failure> {
    let state = agent.paths.state.join("sessions").join(runtime.file_name().unwrap_or_default());
    drop(spawn::keeper(runtime, &state).await?);
    take_over(agent, runtime).await
}

/// Tells a keeper that has no session to take over the pod of its folder.
async fn take_over(agent: &Agent, runtime: &Path) -> Result<(), roam_api::error::Failure> {
    let answer =
        Keeper::connect_now(runtime).await?.ask(&Request::Adopt { host: agent.name.clone() }).await?;
    if let Answer::Info(info) = answer {
        agent.change(|core| core.table.heard_here(info));
    }
    Ok(())
}

fn end(agent: &Agent, runtime: &Path, last: Option<&SessionInfo>) {
    remove_folder(runtime);
    if let Some(info) = last {
        agent.change(|core| core.table.gone_here(&info.id, info.generation));
        agent.remember();
    }
}

/// Removes the sockets' folder of a session whose keeper and init are gone.
pub fn remove_folder(runtime: &Path) {
    if let Err(error) = std::fs::remove_dir_all(runtime)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %runtime.display(), %error, "a session's folder can't be removed");
    }
}

/// Waits until a session has left the table's `here`, or the time is over.
pub async fn until_gone(agent: &Agent, id: &SessionId, limit: Duration) {
    let mut changes = agent.changes();
    let gone = async {
        while agent.paths.session_runtime(id).exists() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(limit, gone).await;
}

/// Whether a session lives in this folder, with a keeper or without. A pod that was not made to outlive its keeper is
/// given a moment to end.
pub async fn lives(runtime: &Path) -> bool {
    let gone = async {
        while alive(&runtime.join("init.sock")).await == Alive::Yes {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(POD_END_TIME, gone).await.is_err()
}

/// Ends a keeper that has no session, and then removes its folders; of the second what a session left there stays.
/// Where a session turns out to live, it is followed instead.
pub async fn clean_up(agent: Arc<Agent>, runtime: PathBuf, state: PathBuf) {
    if let Ok(mut keeper) = Keeper::connect_now(&runtime).await {
        let _ = keeper.ask(&Request::Withdraw).await;
    }
    let gone = async {
        while alive(&runtime.join("keeper.sock")).await == Alive::Yes {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // A keeper that does not obey ends after a minute, or has a session after all.
    if tokio::time::timeout(Duration::from_secs(90), gone).await.is_err() || lives(&runtime).await {
        return follow(agent, runtime, None, true).await;
    }
    remove_folder(&runtime);
    if std::fs::metadata(state.join("journal")).is_ok_and(|journal| journal.len() == 0) {
        remove_folder(&state);
    }
}
