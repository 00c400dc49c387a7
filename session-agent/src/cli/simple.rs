//! The commands that are one question and one answer.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use roam_api::agent::{Answer, MachineInfo, Reply, Request, Snapshot, Verdict};
use roam_api::error::{Failure, Outcome};
use roam_api::session::{SessionInfo, SessionState};

use super::json;
use crate::client::Client;
use crate::paths::{Paths, program};

/// Asks the agent, starting it if need be, and hears its last word.
///
/// # Errors
/// The agent's failure.
pub async fn ask(paths: &Paths, request: Request) -> Result<Answer, Failure> {
    let mut client = Client::connect_or_start(paths).await?;
    client.say(&request).await?;
    loop {
        match client.hear().await? {
            Reply::Done(answer) => return Ok(answer),
            Reply::Failed(failure) => return Err(failure),
            Reply::Output { stream, bytes } => print_bytes(stream, &bytes)?,
            Reply::Progress(_) | Reply::Snapshot(_) => {}
        }
    }
}

/// How long an agent may take to come back.
const AGENT_TIME: Duration = Duration::from_secs(30);
/// How long whoever watches over the agent (systemd) has to start it before it is started here.
const OTHERS_FIRST: Duration = Duration::from_secs(2);
/// Between two looks for an agent.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// The last word of an agent, for requests that can be asked again; none if it is gone without one.
async fn word_of(mut client: Client, request: &Request) -> Option<Result<Answer, Failure>> {
    client.say(request).await.ok()?;
    loop {
        match client.hear().await.ok()? {
            Reply::Done(answer) => return Some(Ok(answer)),
            Reply::Failed(failure) => return Some(Err(failure)),
            Reply::Progress(_) | Reply::Output { .. } | Reply::Snapshot(_) => {}
        }
    }
}

/// Asks the agent that comes after one that is gone; none if none comes, or keeps dying.
pub async fn ask_next(paths: &Paths, request: &Request) -> Option<Result<Answer, Failure>> {
    let lost = Instant::now();
    while lost.elapsed() < AGENT_TIME {
        let wait_for_others = lost.elapsed() < OTHERS_FIRST;
        let client = if wait_for_others {
            Client::connect(paths).await
        } else {
            Client::connect_or_start(paths).await
        };
        if let Ok(client) = client
            && let Some(word) = word_of(client, request).await
        {
            return Some(word);
        }
        // Nothing tells when a socket begins to listen.
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    None
}

/// Passes a program's output on.
///
/// # Errors
/// If stdout is closed.
pub fn print_bytes(stream: u8, bytes: &[u8]) -> Result<(), Failure> {
    let written = if stream == 2 {
        std::io::stderr().write_all(bytes)
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    };
    written.map_err(|error| Failure::undone(format!("The output can't be written: {error}.")))
}

/// An answer that does not fit its request: an agent of another version.
pub fn unexpected(answer: &Answer) -> Failure {
    Failure::undone(format!("The agent gave an answer that does not fit ({answer:?})."))
        .next("It may be of another version: restart it.")
}

pub async fn list(paths: &Paths, as_json: bool) -> Result<(), Failure> {
    let sessions = match ask(paths, Request::List).await? {
        Answer::Sessions(sessions) => sessions,
        other => return Err(unexpected(&other)),
    };
    if as_json {
        say!("{}", json::sessions(&sessions));
    } else if sessions.is_empty() {
        eprintln!("There are no sessions. `roam run PROGRAM` starts one.");
    } else {
        let rows = sessions.iter().map(session_row).collect();
        print_table(["SESSION", "HOST", "STATE", "SHOWN ON", "MEMORY", "PROGRAM"], rows);
    }
    Ok(())
}

fn session_row(session: &SessionInfo) -> [String; 6] {
    let shown: Vec<&str> = session.shown_on.iter().map(|shown| shown.machine.as_str()).collect();
    [
        format!("{}@{}", session.name, session.home),
        session.host.clone(),
        match &session.state {
            SessionState::Starting => "starting".into(),
            SessionState::Running => "running".into(),
            SessionState::Sending { to, .. } => format!("on its way to {to}"),
            SessionState::Receiving { from } => format!("coming from {from}"),
            SessionState::Parked { .. } => "parked".into(),
            SessionState::Ended { status } => format!("ended ({status})"),
        },
        if shown.is_empty() { "-".into() } else { shown.join(",") },
        match session.state {
            SessionState::Parked { .. } => "-".into(),
            _ => format!("{} MiB", session.memory_bytes >> 20),
        },
        // What a program is called is its own choice: nothing of it may drive the terminal.
        session.command.chars().filter(|c| !c.is_control()).take(60).collect(),
    ]
}

pub async fn machines(paths: &Paths, as_json: bool) -> Result<(), Failure> {
    let snapshot = snapshot(paths).await?;
    if as_json {
        say!("{}", json::machines(&snapshot));
        return Ok(());
    }
    let mut rows = vec![[snapshot.machine.clone(), "-".into(), "yes".into(), "this machine".into()]];
    rows.extend(snapshot.machines.iter().map(machine_row));
    print_table(["MACHINE", "PAIRED", "ONLINE", "ADDRESSES AND PERMISSIONS"], rows);
    if let Some((code, machine)) = &snapshot.pairing_code {
        eprintln!("{machine} asks to be paired with this machine. The code to type there: {code}");
    }
    Ok(())
}

fn machine_row(machine: &MachineInfo) -> [String; 4] {
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let permissions: Vec<String> = machine.permissions.iter().map(|(n, v)| format!("{n}={v}")).collect();
    [
        machine.name.clone(),
        yes_no(machine.paired),
        yes_no(machine.online),
        format!("{} {}", machine.addresses.join(","), permissions.join(" ")),
    ]
}

/// What the agent shows the app, once.
///
/// # Errors
/// The agent's failure.
pub async fn snapshot(paths: &Paths) -> Result<Snapshot, Failure> {
    let mut client = Client::connect_or_start(paths).await?;
    client.say(&Request::Watch).await?;
    loop {
        match client.hear().await? {
            Reply::Snapshot(snapshot) => return Ok(snapshot),
            Reply::Failed(failure) => return Err(failure),
            Reply::Done(answer) => return Err(unexpected(&answer)),
            Reply::Progress(_) | Reply::Output { .. } => {}
        }
    }
}

fn print_table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) {
    let mut out = std::io::stdout().lock();
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(&rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in all() {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(i, cell)| format!("{cell:<width$}", width = width(i))).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
}

pub async fn wait(paths: &Paths, session: String) -> Result<(), Failure> {
    let request = Request::Wait { session: session.clone() };
    let mut word = word_of(Client::connect_or_start(paths).await?, &request).await;
    if word.is_none() {
        eprintln!(
            "The Roam agent stopped answering. Waiting for the next one; {session} goes on without it."
        );
        word = ask_next(paths, &request).await.map(|word| {
            word.map_err(|failure| match failure.outcome {
                Outcome::WrongUse => {
                    Failure::undone(format!("{session} is gone; how it ended is not known."))
                }
                _ => failure,
            })
        });
    }
    let away = || {
        Failure::unreachable("The Roam agent does not come back.")
            .next("Sessions go on without it; `roam list` starts it and shows them.")
    };
    match word.ok_or_else(away)?? {
        Answer::Ended { status } => say!("{status}"),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

pub async fn log(paths: &Paths, session: String, follow: bool) -> Result<(), Failure> {
    ask(paths, Request::Log { session, follow }).await.map(|_| ())
}

pub async fn stop(paths: &Paths, session: String) -> Result<(), Failure> {
    ask(paths, Request::Stop { session }).await.map(|_| ())
}

pub async fn park(paths: &Paths, session: String, to: Option<PathBuf>, json: bool) -> Result<(), Failure> {
    let file = to.map(|path| absolute(&path)).transpose()?;
    match ask(paths, Request::Park { session, file }).await? {
        Answer::Parked { file, report } if json => say!("{}", json::parked(&file, &report)),
        Answer::Parked { file, .. } => say!("{file}"),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

pub async fn resume(paths: &Paths, what: String, json: bool) -> Result<(), Failure> {
    // A path has a slash or names a file; everything else is a session's name.
    let path = PathBuf::from(&what);
    let what = if what.contains('/') || path.is_file() { absolute(&path)? } else { what };
    match ask(paths, Request::Resume { what }).await? {
        Answer::Resumed { name, report } if json => say!("{}", json::resumed(&name, &report)),
        Answer::Resumed { name, .. } => say!("{name}"),
        other => return Err(unexpected(&other)),
    }
    Ok(())
}

fn absolute(path: &std::path::Path) -> Result<String, Failure> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::wrong_use(format!("{} is no usable path: {error}.", path.display())))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::wrong_use(format!("The path {} is not written in UTF-8.", path.to_string_lossy()))
            .next("Choose a file whose path is.")
    })
}

pub fn app() -> Result<(), Failure> {
    let app = program("roam-app");
    let error = std::process::Command::new(&app).exec();
    Err(Failure::refused(format!("The Roam window can't be opened: {}: {error}.", app.display()))
        .next("Everything works without it: see `roam help`."))
}

/// Prints the checks; 0 if Roam can work here, else 3.
pub fn doctor(as_json: bool) -> u8 {
    let checks = crate::agent::doctor::run();
    let bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    if as_json {
        say!("{}", json::doctor(&checks));
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok     ",
                Verdict::Limited => "limited",
                Verdict::Bad => "BAD    ",
            };
            say!("{mark}  {}: {}", check.name, check.detail);
            if let Some(remedy) = &check.remedy {
                say!("         {remedy}");
            }
        }
    }
    if bad { 3 } else { 0 }
}
