//! `roam exec`: a command in the session's pod, its standard streams over the request's connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;

use roam_api::agent::Input;
use roam_api::error::Failure;
use roam_api::init::{Event, Role};
use roam_api::keeper::{Answer, Reply};
use roam_link::frames;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, mpsc};

use crate::keeper::failed;
use crate::live::Live;

/// Frames of input that wait for a command that does not read.
const QUEUED_INPUT: usize = 16;

struct Pipes {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    theirs: [OwnedFd; 3],
}

fn pipes() -> io::Result<Pipes> {
    let (stdin_read, stdin) = io::pipe()?;
    let (stdout, stdout_write) = io::pipe()?;
    let (stderr, stderr_write) = io::pipe()?;
    Ok(Pipes {
        stdin: pipe::Sender::from_owned_fd(stdin.into())?,
        stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
        stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        theirs: [stdin_read.into(), stdout_write.into(), stderr_write.into()],
    })
}

/// Runs the command until it ends; [`Input`] frames come from the client meanwhile. A client that goes
/// away hangs the command up.
///
/// # Errors
/// What kept the command from being started.
pub async fn run(live: &Arc<Live>, argv: Vec<Vec<u8>>, client: &mut UnixStream) -> Result<Answer, Failure> {
    let Pipes { stdin, mut stdout, mut stderr, theirs } = pipes().map_err(|e| failed("Making pipes", &e))?;
    let _count = live.count_exec();
    let mut events = live.events.subscribe();
    let program = argv.first().map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default();
    let (pid, pidfd) = live
        .exec(argv, &[theirs[0].as_fd(), theirs[1].as_fd(), theirs[2].as_fd()])
        .map_err(|e| Failure::refused(format!("{program} could not be started in the session: {e}.")))?;
    drop(theirs);
    let (mut from_client, mut to_client) = client.split();
    // Reading frames and feeding the command are futures of their own that are never cancelled half-way; a
    // command that does not read holds up only its own input.
    let (queue, mut queued) = mpsc::channel::<Vec<u8>>(QUEUED_INPUT);
    let mut listen = pin!(async {
        let mut queue = Some(queue);
        loop {
            match frames::read::<Input>(&mut from_client).await {
                Ok(Some(Input::Bytes(bytes))) => {
                    if let Some(open) = &queue {
                        let _ = open.send(bytes).await;
                    }
                }
                Ok(Some(Input::End)) => queue = None,
                Ok(Some(Input::Signal(signal))) => {
                    let _ = roam_sys::spawn::pidfd_signal(pidfd.as_fd(), signal);
                }
                Ok(None) | Err(_) => return,
            }
        }
    });
    let mut feed = pin!(async {
        let mut stdin = stdin;
        while let Some(bytes) = queued.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut feeding = true;
    let (mut out, mut err) = (vec![0; 32 << 10], vec![0; 32 << 10]);
    let (mut out_open, mut err_open, mut client_there) = (true, true, true);
    let status = loop {
        tokio::select! {
            () = &mut listen, if client_there => {
                client_there = false;
                let _ = roam_sys::spawn::pidfd_signal(pidfd.as_fd(), libc::SIGHUP);
            }
            () = &mut feed, if feeding => feeding = false,
            n = stdout.read(&mut out), if out_open => {
                out_open = forward(&mut to_client, 1, n, &out).await;
            }
            n = stderr.read(&mut err), if err_open => {
                err_open = forward(&mut to_client, 2, n, &err).await;
            }
            status = exited(&mut events, live, pid) => break status,
        }
    };
    // What it wrote before it ended is there; what its children may still write is not waited for.
    for (pipe, stream, buffer) in [(&stdout, 1, &mut out), (&stderr, 2, &mut err)] {
        while let Ok(n) = pipe.try_read(buffer) {
            if !forward(&mut to_client, stream, Ok(n), buffer).await {
                break;
            }
        }
    }
    Ok(Answer::Ended { status })
}

async fn forward(
    client: &mut (impl tokio::io::AsyncWrite + Unpin),
    stream: u8,
    n: io::Result<usize>,
    buffer: &[u8],
) -> bool {
    match n {
        Ok(0) | Err(_) => false,
        Ok(n) => {
            let _ = frames::write(client, &Reply::Output { stream, bytes: buffer[..n].to_vec() }).await;
            true
        }
    }
}

async fn exited(events: &mut broadcast::Receiver<Event>, live: &Live, wanted: i32) -> i32 {
    loop {
        match events.recv().await {
            Ok(Event::Exited { pid, role: Role::Exec, status }) if pid == wanted => return status,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                // The pod may have ended altogether.
                if live.ended.borrow().is_some() && !runs(live, wanted) {
                    return 128 + libc::SIGKILL;
                }
            }
            Err(broadcast::error::RecvError::Closed) => return 128 + libc::SIGKILL,
        }
    }
}

fn runs(live: &Live, wanted: i32) -> bool {
    live.pod.client().state().is_ok_and(|state| state.running.iter().any(|(pid, _)| *pid == wanted))
}
