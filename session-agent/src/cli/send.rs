//! `roam send`: moves a session, shows how far it is, and cancels on Ctrl+C.
//!
//! Ctrl+C asks the agent to cancel and goes on listening: whether it still could is the agent's
//! answer. After the commit it has no effect.
//!
//! An agent that dies meanwhile leaves the move to the keepers: the next agent is asked how it came out,
//! because an exit code must be true.

use std::io::{IsTerminal, Write};

use roam_api::agent::{Answer, Reply, Request};
use roam_api::error::Failure;
use roam_api::session::{MoveProgress, MoveReport};

use super::json;
use crate::client::Client;
use crate::paths::Paths;

/// From, to and figures.
type Moved = (String, String, Option<MoveReport>);

/// Arguments of `roam send`.
#[derive(Debug, clap::Args)]
pub struct Send {
    /// NAME or NAME@MACHINE.
    session: String,
    /// The machine it shall go to; `.` is this one.
    machine: String,
    /// Stop it first, then copy.
    #[arg(long)]
    cold: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

pub async fn send(paths: &Paths, arguments: Send) -> Result<(), Failure> {
    let Send { session, machine, cold, json } = arguments;
    let client = Client::connect_or_start(paths).await?;
    let request = Request::Send { session: session.clone(), machine: machine.clone(), cold };
    let on_terminal = !json && std::io::stderr().is_terminal();
    let told = converse(paths, client, request, &session, json, on_terminal).await;
    if on_terminal {
        eprint!("\r\x1b[K");
    }
    let outcome = match told {
        Some(outcome) => outcome,
        None => {
            eprintln!("The Roam agent stopped answering. Waiting for it, to learn where {session} runs now.");
            tokio::select! {
                outcome = settle(paths, &session, &machine) => outcome,
                _ = tokio::signal::ctrl_c() => Err(not_known(&session, &machine, "nobody waited for the answer")),
            }
        }
    };
    let (from, to, report) = outcome?;
    if json {
        say!("{}", json::moved(&session, &from, &to, report.as_ref()));
    } else {
        eprintln!("{}", sentence(&session, &from, &to, report.as_ref()));
    }
    Ok(())
}

/// The agent's last word; none if it is gone without one.
async fn converse(
    paths: &Paths,
    mut client: Client,
    request: Request,
    session: &str,
    json: bool,
    on_terminal: bool,
) -> Option<Result<Moved, Failure>> {
    client.say(&request).await.ok()?;
    let mut asked_to_cancel = false;
    loop {
        let reply = tokio::select! {
            reply = client.hear() => reply.ok()?,
            _ = tokio::signal::ctrl_c() => {
                if !asked_to_cancel {
                    asked_to_cancel = true;
                    cancel(paths, session.to_owned()).await;
                }
                continue;
            }
        };
        match reply {
            Reply::Progress(progress) if json => say!("{}", json::progress(&progress)),
            Reply::Progress(progress) if on_terminal => show(&progress),
            Reply::Progress(_) | Reply::Output { .. } | Reply::Snapshot(_) => {}
            Reply::Done(answer) => return Some(moved(Ok(answer))),
            Reply::Failed(failure) => return Some(Err(failure)),
        }
    }
}

/// What a last word says of a move.
fn moved(word: Result<Answer, Failure>) -> Result<Moved, Failure> {
    match word? {
        Answer::Moved { from, to, report } => Ok((from, to, report)),
        other => Err(super::simple::unexpected(&other)),
    }
}

/// Asks the agent that comes back how the move came out.
async fn settle(paths: &Paths, session: &str, machine: &str) -> Result<Moved, Failure> {
    let request = Request::Settle { session: session.into(), machine: machine.into() };
    match super::simple::ask_next(paths, &request).await {
        Some(word) => moved(word),
        None => Err(not_known(session, machine, "the Roam agent of this machine does not come back")),
    }
}

fn not_known(session: &str, machine: &str, why: &str) -> Failure {
    Failure::unreachable(format!(
        "The move of {session} to {machine} broke off, and where it runs is not known: {why}."
    ))
    .next("It runs in one of the two places; `roam list` shows where.")
}

async fn cancel(paths: &Paths, session: String) {
    // Whether it could be cancelled comes with the answer of the send itself.
    if let Ok(mut client) = Client::connect(paths).await
        && client.say(&Request::CancelSend { session }).await.is_ok()
    {
        let _ = client.hear().await;
    }
}

fn show(progress: &MoveProgress) {
    let percent = match progress.bytes_total {
        0 => String::new(),
        total => format!(" {} %", 100 * progress.bytes_sent.min(total) / total),
    };
    eprint!(
        "\r\x1b[K{}{percent} ({} MiB, {:.1} s)",
        json::stage(progress.stage),
        progress.bytes_sent >> 20,
        progress.elapsed_ms as f64 / 1000.0
    );
    let _ = std::io::stderr().flush();
}

fn sentence(session: &str, from: &str, to: &str, report: Option<&MoveReport>) -> String {
    match report {
        None => format!("{session} is on {to} already."),
        Some(report) => format!(
            "{session} moved from {from} to {to}: {:.1} s in all, it stood still for {:.0} ms.",
            report.total_ms as f64 / 1000.0,
            report.downtime_ms
        ),
    }
}
