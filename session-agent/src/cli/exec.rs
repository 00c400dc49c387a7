//! `roam exec`: a command in a session, with this process's stdin, stdout, stderr and signals.
//!
//! The exit code is the command's; 125 for every failure of `roam exec` itself.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use roam_api::agent::{Answer, Input, Reply, Request};
use roam_api::error::Failure;
use roam_link::frames;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::simple::unexpected;
use crate::client::Client;
use crate::paths::Paths;

/// Bytes of stdin in one message.
const CHUNK: usize = 64 << 10;

pub async fn exec(paths: &Paths, session: String, command: Vec<OsString>) -> Result<u8, Failure> {
    let argv = command.into_iter().map(OsStringExt::into_vec).collect();
    let mut client = Client::connect_or_start(paths).await?;
    client.say(&Request::Exec { session, argv }).await?;
    let (mut hear, mut say) = client.stream.into_split();

    // Bounded: stdin is read no faster than the command takes it.
    let (inputs, mut next_input) = mpsc::channel(4);
    forward_signals(&inputs)?;
    std::thread::spawn(move || read_stdin(&inputs));
    tokio::spawn(async move {
        while let Some(input) = next_input.recv().await {
            if frames::write(&mut say, &input).await.is_err() {
                return;
            }
        }
    });

    loop {
        let reply = frames::expect(&mut hear).await.map_err(|error| {
            Failure::unreachable(format!("The command's session is out of reach: {error}."))
        })?;
        match reply {
            Reply::Output { stream, bytes } => print(stream, &bytes).await?,
            Reply::Done(Answer::Ended { status }) => return Ok(u8::try_from(status & 0xff).unwrap_or(1)),
            Reply::Done(other) => return Err(unexpected(&other)),
            Reply::Failed(failure) => return Err(failure),
            Reply::Progress(_) | Reply::Snapshot(_) => {}
        }
    }
}

/// Not by a blocking write: signals must get through while a reader of ours is slow.
async fn print(stream: u8, bytes: &[u8]) -> Result<(), Failure> {
    async fn whole(mut out: impl AsyncWrite + Unpin, bytes: &[u8]) -> std::io::Result<()> {
        out.write_all(bytes).await?;
        out.flush().await
    }
    let written = match stream {
        2 => whole(tokio::io::stderr(), bytes).await,
        _ => whole(tokio::io::stdout(), bytes).await,
    };
    written.map_err(|error| Failure::undone(format!("The output can't be written: {error}.")))
}

fn read_stdin(inputs: &mpsc::Sender<Input>) {
    let mut stdin = std::io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    loop {
        let input = match stdin.read(&mut buffer) {
            Ok(0) | Err(_) => Input::End,
            Ok(n) => Input::Bytes(buffer[..n].to_vec()),
        };
        let end = input == Input::End;
        if inputs.blocking_send(input).is_err() || end {
            return;
        }
    }
}

fn forward_signals(inputs: &mpsc::Sender<Input>) -> Result<(), Failure> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in kinds {
        let mut signals =
            signal(kind).map_err(|error| Failure::undone(format!("Signals can't be caught: {error}.")))?;
        let inputs = inputs.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if inputs.send(Input::Signal(kind.as_raw_value())).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}
