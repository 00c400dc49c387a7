//! `roam send`: moves a session, shows how far it is, and cancels on Ctrl+C.
//!
//! Ctrl+C asks the agent to cancel and goes on listening: whether it still could is the agent's
//! answer. After the commit it has no effect.

use std::io::{IsTerminal, Write};

use roam_api::agent::{Answer, Reply, Request};
use roam_api::error::Failure;
use roam_api::session::{MoveProgress, MoveReport};

use super::json;
use crate::client::Client;
use crate::paths::Paths;

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
    let mut client = Client::connect_or_start(paths).await?;
    client.say(&Request::Send { session: session.clone(), machine, cold }).await?;
    let on_terminal = !json && std::io::stderr().is_terminal();
    let mut asked_to_cancel = false;
    let outcome = loop {
        let reply = tokio::select! {
            reply = client.hear() => reply?,
            _ = tokio::signal::ctrl_c() => {
                if !asked_to_cancel {
                    asked_to_cancel = true;
                    cancel(paths, session.clone()).await;
                }
                continue;
            }
        };
        match reply {
            Reply::Progress(progress) if json => say!("{}", json::progress(&progress)),
            Reply::Progress(progress) if on_terminal => show(&progress),
            Reply::Done(Answer::Moved { from, to, report }) => break Ok((from, to, report)),
            Reply::Done(other) => break Err(super::simple::unexpected(&other)),
            Reply::Failed(failure) => break Err(failure),
            _ => {}
        }
    };
    if on_terminal {
        eprint!("\r\x1b[K");
    }
    let (from, to, report) = outcome?;
    if json {
        say!("{}", json::moved(&session, &from, &to, report.as_ref()));
    } else {
        eprintln!("{}", sentence(&session, &from, &to, report.as_ref()));
    }
    Ok(())
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
