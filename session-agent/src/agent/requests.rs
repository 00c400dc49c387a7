//! What the app and the command line can ask that concerns no particular session, and which of
//! their requests are actions on one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use roam_api::agent::{Answer, Reply, Request, Snapshot};
use roam_api::error::Failure;
use roam_api::keeper::{Answer as KeeperAnswer, Identity, Request as KeeperRequest};
use roam_api::peer::{Action, MAX_HOPS};
use roam_api::session::{MachineKey, SessionId, SessionSpec};

use super::actions::{self, Origin};
use super::keeper::{Keeper, unexpected};
use super::machines::Meant;
use super::outcome::{self, Question};
use super::serve::Channel;
use super::table::{Place, Table};
use super::{Agent, doctor, pair, spawn, viewers, watch};

/// The most that a session's command line and environment may take together, in bytes.
const MAX_SPEC: usize = 2 << 20;

/// If a request is an action on a session: which, and what.
///
/// # Errors
/// If the session or machine is not known.
pub fn action(agent: &Agent, request: &Request) -> Result<Option<(SessionId, Action)>, Failure> {
    let (session, action) = match request {
        Request::Wait { session } => (session, Action::Wait),
        Request::Log { session, follow } => (session, Action::Log { follow: *follow }),
        Request::Stop { session } => (session, Action::Stop),
        Request::Exec { session, argv } => {
            if argv.is_empty() {
                return Err(Failure::wrong_use("There is no command to run."));
            }
            (session, Action::Exec { argv: argv.clone() })
        }
        Request::Park { session, file } => {
            if file.as_ref().is_some_and(|file| !Path::new(file).is_absolute()) {
                return Err(Failure::wrong_use("The file to park in must be an absolute path."));
            }
            (session, Action::Park { file: file.clone() })
        }
        Request::CancelSend { session } => (session, Action::CancelSend),
        Request::Send { session, machine, cold } => {
            let core = agent.core();
            let to = match core.machines.resolve(machine)? {
                Meant::Here => agent.key(),
                _ => core.machines.resolve_peer(machine)?,
            };
            (session, Action::Send { to, cold: *cold })
        }
        Request::Hide { session, on } => (session, Action::Hide { on: machine(agent, on.as_deref())? }),
        Request::Resume { what } if !what.starts_with('/') => (what, Action::Resume),
        _ => return Ok(None),
    };
    let id = agent.core().table.resolve(session)?;
    Ok(Some((id, action)))
}

/// How a move came out, by names that a new agent may not know yet.
async fn settle(agent: &Arc<Agent>, session: &str, to: &str) -> Result<Answer, Failure> {
    let to = machine(agent, Some(to))?.unwrap_or_else(|| agent.key());
    let begun = Instant::now();
    let found = async {
        let mut changes = agent.changes();
        loop {
            changes.mark_unchanged();
            let resolved = agent.core().table.resolve(session);
            if let Ok(id) = resolved {
                return id;
            }
            let _ = changes.changed().await;
        }
    };
    let Ok(id) = tokio::time::timeout(outcome::LIMIT, found).await else {
        return Err(Failure::unreachable(format!(
            "The move of {session} broke off, and where it runs is not known: nobody who knows answers."
        ))
        .next("`roam list` shows it once the other machine is in reach."));
    };
    let asked = Question { origin: Origin::Local, id, to, hops: MAX_HOPS, joins: true };
    outcome::find(agent, asked, outcome::LIMIT.saturating_sub(begun.elapsed())).await
}

/// The machine that a person means, this one included.
fn machine(agent: &Agent, text: Option<&str>) -> Result<Option<MachineKey>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let core = agent.core();
    match core.machines.resolve(text)? {
        Meant::Here => Ok(Some(agent.key())),
        _ => core.machines.resolve_peer(text).map(Some),
    }
}

/// Notes what a person here asked for, where that says yes to a question in advance.
pub fn noted(agent: &Agent, id: SessionId, action: &Action) {
    if matches!(action, Action::Send { to, .. } if *to == agent.key()) {
        let mut core = agent.core();
        core.fetched.retain(|_, at| at.elapsed().as_secs() < 600);
        core.fetched.insert(id, Instant::now());
    }
}

/// Carries out a request.
///
/// # Errors
/// What the person shall read.
pub async fn handle(agent: Arc<Agent>, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::Run(spec) => run(&agent, spec).await,
        Request::List => Ok(Answer::Sessions(agent.core().table.list())),
        Request::Machines => Ok(Answer::Machines(agent.core().machines.list())),
        Request::Resume { what } => resume_file(&agent, what).await,
        Request::Show { session, on, view_only } => {
            let on = machine(&agent, on.as_deref())?.filter(|key| *key != agent.key());
            let id = agent.core().table.resolve(&session)?;
            viewers::show(&agent, id, on, view_only).await
        }
        Request::Pair { machine, code } => pair::pair(&agent, machine, code).await,
        Request::Unpair { machine } => pair::unpair(&agent, &machine).await,
        Request::Allow { machine, changes } => pair::allow(&agent, &machine, &changes),
        Request::Answer { question, yes } => match agent.change(|core| core.answer(question, yes)) {
            true => Ok(Answer::Ok),
            false => Err(Failure::refused("Nobody waits for that answer any more.")),
        },
        Request::Settle { session, machine: to } => settle(&agent, &session, &to).await,
        Request::Doctor => tokio::task::spawn_blocking(doctor::run)
            .await
            .map(Answer::Doctor)
            .map_err(|error| Failure::undone(format!("The checks failed: {error}."))),
        other => Err(Failure::wrong_use(format!("The agent can't do this here: {other:?}."))),
    }
}

/// Sends the whole picture, now and after every change, until the client leaves.
pub async fn watch(agent: &Agent, channel: &mut Channel) {
    let mut changes = agent.changes();
    let mut last: Option<Snapshot> = None;
    loop {
        changes.mark_unchanged();
        let snapshot = snapshot(agent);
        if last.as_ref() != Some(&snapshot) {
            if channel.say(&Reply::Snapshot(snapshot.clone())).await.is_err() {
                return;
            }
            last = Some(snapshot);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = channel.closed() => return,
        }
    }
}

/// Everything the app shows.
fn snapshot(agent: &Agent) -> Snapshot {
    let mut core = agent.core();
    let now = Instant::now();
    Snapshot {
        machine: agent.name.clone(),
        sessions: core.table.list(),
        machines: core.machines.list(),
        moves: core.moves.list(now),
        questions: core.questions(),
        pairing_code: core.pairing.code(now).map(|(code, name)| (code.to_owned(), name.to_owned())),
    }
}

async fn run(agent: &Arc<Agent>, mut spec: SessionSpec) -> Result<Answer, Failure> {
    let asked = viewers::Asked::Here(Instant::now());
    check(&spec)?;
    let program = spec.argv[0].clone();
    spec.name = agent.core().table.promise(&spec.name, &program)?;
    let name = spec.name.clone();
    let screen = spec.screen;
    let started = start(agent, spec).await;
    agent.core().table.keep_promise(&name);
    let id = started?;
    if screen && let Err(failure) = viewers::show_here(agent, id, false, None, asked).await {
        tracing::info!(%failure, session = name, "a started session is not shown here");
    }
    Ok(Answer::Started { name })
}

fn check(spec: &SessionSpec) -> Result<(), Failure> {
    if spec.argv.first().is_none_or(Vec::is_empty) {
        return Err(Failure::wrong_use("There is no program to start."));
    }
    if !spec.cwd.starts_with(b"/") {
        return Err(Failure::wrong_use("The working folder must be an absolute path."));
    }
    let strings = spec.argv.iter().chain(spec.env.keys()).chain(spec.env.values()).chain([&spec.cwd]);
    if strings.clone().any(|bytes| bytes.contains(&0)) {
        return Err(Failure::wrong_use("The command, its environment or its folder contains a zero byte."));
    }
    if strings.map(|bytes| bytes.len() + 1).sum::<usize>() > MAX_SPEC {
        return Err(Failure::wrong_use("The command and its environment are longer than 2 MiB."));
    }
    Ok(())
}

async fn start(agent: &Arc<Agent>, spec: SessionSpec) -> Result<SessionId, Failure> {
    let id = SessionId { home: agent.key(), number: rand::random() };
    let identity = identity(agent, id, 1, agent.name.clone());
    let runtime = agent.paths.session_runtime(&id);
    let state = agent.paths.session_state(&id);
    match first_request(agent, &runtime, &state, &KeeperRequest::Start { identity, spec }).await {
        Err(failure) if agent.core().table.here(&id).is_some() => {
            tracing::warn!(%failure, "a session started whose keeper died over it");
            Ok(id)
        }
        answer => answer.map(|_| id),
    }
}

/// Who a session is when it is hosted here.
#[must_use]
pub fn identity(agent: &Agent, id: SessionId, generation: u64, home: String) -> Identity {
    Identity { id, generation, home, host: agent.name.clone() }
}

/// Starts a keeper, gives it its first request, and follows it. Leaves nothing if that fails, unless the keeper died over
/// it when the session lived already: then that is followed, and in the table.
///
/// # Errors
/// The keeper's failure.
pub async fn first_request(
    agent: &Arc<Agent>,
    runtime: &Path,
    state: &Path,
    request: &KeeperRequest,
) -> Result<KeeperAnswer, Failure> {
    let begun = async {
        let stream = spawn::keeper(runtime, state).await?;
        Keeper { stream }.ask(request).await
    };
    match begun.await {
        Ok(answer @ KeeperAnswer::Listening) => {
            watch::follow_receiving(agent, runtime.to_owned());
            Ok(answer)
        }
        Ok(answer @ (KeeperAnswer::Ok | KeeperAnswer::Info(_) | KeeperAnswer::Resumed(_))) => {
            watch::follow_new(agent, runtime.to_owned()).await;
            Ok(answer)
        }
        Ok(other) => Err(unexpected(&other)),
        Err(failure) => {
            if watch::lives(runtime).await {
                watch::follow_left(agent, runtime.to_owned()).await;
            } else {
                // Nobody needs to wait for that.
                tokio::spawn(watch::clean_up(agent.clone(), runtime.to_owned(), state.to_owned()));
            }
            Err(failure)
        }
    }
}

/// Wakes the session that sleeps in a file.
async fn resume_file(agent: &Arc<Agent>, file: String) -> Result<Answer, Failure> {
    let id = agent.core().table.parked_in(&file).ok_or_else(|| {
        let exists = Path::new(&file).exists();
        let what = if exists { "is not a session that was parked on this machine" } else { "does not exist" };
        Failure::wrong_use(format!("{file} {what}.")).next("`roam list` shows the parked sessions.")
    })?;
    resume(agent, id, viewers::Asked::Here(Instant::now())).await
}

/// Wakes a session that was parked here; its windows come as `asked` says.
///
/// # Errors
/// If its file is gone or can't be restored; it stays parked then.
pub async fn resume(agent: &Arc<Agent>, id: SessionId, asked: viewers::Asked) -> Result<Answer, Failure> {
    let (place, info) = {
        let core = agent.core();
        (core.table.place(&id), core.table.info(&id).cloned())
    };
    let (Some(Place::Parked(file)), Some(info)) = (place, info) else {
        return Err(
            Failure::wrong_use("This session does not sleep.").next("`roam list` shows what it does.")
        );
    };
    if !Path::new(&file).is_file() {
        return Err(Failure::refused(format!("The file {file}, in which {} sleeps, is gone.", info.name))
            .next("Put it back and try again."));
    }
    let generation = info.generation + 1;
    let identity = identity(agent, id, generation, info.home);
    let runtime = agent.paths.session_runtime(&id);
    let request = KeeperRequest::Resume { identity, file };
    let report = match first_request(agent, &runtime, &agent.paths.session_state(&id), &request).await {
        Ok(KeeperAnswer::Resumed(report)) => report,
        Ok(other) => return Err(unexpected(&other)),
        Err(failure) => {
            let core = agent.core();
            let awake = core.table.here(&id).is_some_and(|here| here.generation >= generation)
                && core.table.place(&id) == Some(Place::Here);
            return Err(if awake {
                Failure::undone(format!("{} is awake, but its keeper died over it.", info.name))
                    .next("Another one has taken over; nothing needs to be done.")
            } else {
                failure
            });
        }
    };
    agent.change(|core| core.table.unpark(&id));
    // The keeper's first word was of the sleep: who is told that it woke and sends it on must send what runs.
    let awake = |table: &Table| match table.here(&id) {
        Some(here) => here.generation >= generation,
        None => matches!(table.place(&id), Some(Place::Ended(_) | Place::There(_))),
    };
    let _ = actions::wait_for(agent, |table| awake(table).then_some(())).await;
    agent.remember();
    if info.screen
        && let Err(failure) = viewers::show_here(agent, id, false, None, asked).await
    {
        tracing::info!(%failure, session = info.name, "a woken session is not shown here");
    }
    Ok(Answer::Resumed { name: info.name, report })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_started_is_refused_before_anything_is_made() {
        let good = SessionSpec {
            name: String::new(),
            argv: vec![b"true".to_vec()],
            env: [(b"A".to_vec(), b"B".to_vec())].into(),
            cwd: b"/".to_vec(),
            umask: 0o22,
            screen: false,
            publish: vec![],
        };
        check(&good).unwrap();
        let bad = [
            SessionSpec { argv: vec![], ..good.clone() },
            SessionSpec { argv: vec![vec![]], ..good.clone() },
            SessionSpec { cwd: b"here".to_vec(), ..good.clone() },
            SessionSpec { argv: vec![b"a\0b".to_vec()], ..good.clone() },
            SessionSpec { argv: vec![b"a".to_vec(), vec![b'x'; MAX_SPEC]], ..good },
        ];
        for spec in bad {
            assert!(check(&spec).is_err());
        }
    }
}
