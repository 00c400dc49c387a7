//! Connections of the app and the command line: a local socket, private to this user.
//!
//! One request per connection. Garbage, a foreign user or a foreign version closes that connection
//! and touches nothing else. There are never more than [`MAX_CONNECTIONS`] at a time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use roam_api::agent::{Answer, Reply, Request};
use roam_api::error::Failure;
use roam_link::frames;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{Agent, actions, requests};
use crate::paths::Paths;

/// How many connections are served at once; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// The client's side of a conversation, near or far.
pub struct Channel {
    /// What it says after its request.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What it hears.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Channel {
    /// Says something.
    ///
    /// # Errors
    /// If the client is gone.
    pub async fn say(&mut self, reply: &Reply) -> Result<(), Failure> {
        frames::write(&mut self.writer, reply).await.map_err(|_| gone())
    }

    /// Returns when the client has closed the connection, or says what nobody asked for.
    pub async fn closed(&mut self) {
        let mut byte = [0];
        let _ = self.reader.read(&mut byte).await;
    }

    /// Says the last word.
    pub async fn finish(&mut self, result: Result<Answer, Failure>) {
        let reply = match result {
            Ok(answer) => Reply::Done(answer),
            Err(failure) => Reply::Failed(failure),
        };
        let _ = self.say(&reply).await;
    }
}

/// The failure for a client that left; nobody reads it.
#[must_use]
pub fn gone() -> Failure {
    Failure::undone("The one who asked is gone.")
}

/// Makes the socket. The caller holds the agent's lock, so a socket that is there is a leftover.
///
/// # Errors
/// If it can't be made.
pub fn bind(paths: &Paths) -> Result<UnixListener, Failure> {
    let path = paths.agent_socket();
    let failed = |error| Failure::refused(format!("The socket {} can't be made: {error}.", path.display()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves until somebody says `Quit`, or SIGTERM or SIGINT comes.
///
/// # Errors
/// If signals can't be caught.
pub async fn run(agent: Arc<Agent>, listener: UnixListener) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let catch = |kind| signal(kind).map_err(|e| Failure::undone(format!("Signals can't be caught: {e}.")));
    let mut terminate = catch(SignalKind::terminate())?;
    let mut interrupt = catch(SignalKind::interrupt())?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let quit = Arc::new(tokio::sync::Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = quit.notified() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: serve on, take the next when one is free.
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let (agent, quit) = (agent.clone(), quit.clone());
        tokio::spawn(async move {
            serve(agent, stream, &quit).await;
            drop(place);
        });
    }
    let _ = fs::remove_file(agent.paths.agent_socket());
    agent.remember();
    agent.ending.notify_one();
    let _ = tokio::time::timeout(Duration::from_secs(1), agent.ended.notified()).await;
    agent.network.endpoint.close().await;
    tracing::info!("the agent ends; sessions go on");
    Ok(())
}

async fn serve(agent: Arc<Agent>, stream: UnixStream, quit: &tokio::sync::Notify) {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => {}
        _ => return,
    }
    let (reader, writer) = stream.into_split();
    let mut channel = Channel { reader: Box::new(reader), writer: Box::new(writer) };
    let request = match tokio::time::timeout(FIRST_WORD, frames::read(&mut channel.reader)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client said no request");
            channel
                .finish(Err(Failure::wrong_use(format!("The request can't be understood: {error}."))))
                .await;
            return;
        }
        Ok(Ok(None)) | Err(_) => return,
    };
    match request {
        Request::Quit => {
            channel.finish(Ok(Answer::Ok)).await;
            quit.notify_one();
        }
        Request::Watch => requests::watch(&agent, &mut channel).await,
        request => match requests::action(&agent, &request) {
            Ok(Some((session, action))) => {
                requests::noted(&agent, session, &action);
                let origin = actions::Origin::Local;
                actions::serve(&agent, origin, session, action, roam_api::peer::MAX_HOPS, channel).await;
            }
            // Runs to its end also if the client leaves: half of it would be worse.
            Ok(None) => {
                let result = tokio::spawn(requests::handle(agent, request)).await;
                let lost = |_| Err(Failure::undone("The agent failed inside. Its log says more."));
                channel.finish(result.unwrap_or_else(lost)).await;
            }
            Err(failure) => channel.finish(Err(failure)).await,
        },
    }
}
