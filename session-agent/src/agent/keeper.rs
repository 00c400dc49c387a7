//! Talking to a session's keeper: one request per connection, over its socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use roam_api::error::Failure;
use roam_api::keeper::{Answer, Reply, Request};
use roam_link::frames::{self, FrameError};
use tokio::net::UnixStream;

/// How long a request waits for the keeper that takes a dead one's place.
const TAKE_OVER_TIME: Duration = Duration::from_secs(5);

/// A connection to a keeper.
#[derive(Debug)]
pub struct Keeper {
    /// The connection, for those who relay it.
    pub stream: UnixStream,
}

/// Whether somebody listens at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// Somebody does.
    Yes,
    /// Nobody: the socket is gone or refuses.
    No,
}

impl Keeper {
    /// Connects to the keeper of a session's runtime folder. While the session's pod lives without one,
    /// another is being started: that is waited for.
    ///
    /// # Errors
    /// If none listens there.
    pub async fn connect(runtime: &Path) -> Result<Self, Failure> {
        let taken_over = async {
            loop {
                let connected = Self::connect_now(runtime).await;
                if connected.is_ok() || alive(&runtime.join("init.sock")).await == Alive::No {
                    return connected;
                }
                // Nothing tells when a socket begins to listen.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(TAKE_OVER_TIME, taken_over).await {
            Ok(connected) => connected,
            Err(_) => Self::connect_now(runtime).await,
        }
    }

    /// Connects to the keeper that is there just now.
    ///
    /// # Errors
    /// If none listens there.
    pub async fn connect_now(runtime: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(runtime.join("keeper.sock")).await.map_err(|error| {
            Failure::undone(format!("The session's keeper does not answer ({error})."))
                .next("It is started again by itself; try once more.")
        })?;
        Ok(Self { stream })
    }

    /// Sends the request.
    ///
    /// # Errors
    /// If the keeper is gone.
    pub async fn say(&mut self, request: &Request) -> Result<(), Failure> {
        frames::write(&mut self.stream, request).await.map_err(|error| broken(&error))
    }

    /// The next message.
    ///
    /// # Errors
    /// If the keeper is gone or speaks another language.
    pub async fn hear(&mut self) -> Result<Reply, Failure> {
        frames::expect(&mut self.stream).await.map_err(|error| broken(&error))
    }

    /// Sends a request and waits for its last word.
    ///
    /// # Errors
    /// The keeper's failure, or that it is gone.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.say(request).await?;
        loop {
            match self.hear().await? {
                Reply::Done(answer) => return Ok(answer),
                Reply::Failed(failure) => return Err(failure),
                Reply::Progress(_) | Reply::Output { .. } | Reply::Info(_) => {}
            }
        }
    }
}

/// The failure for a conversation that broke off.
#[must_use]
pub fn broken(error: &FrameError) -> Failure {
    Failure::undone(format!("The session's keeper stopped answering: {error}."))
        .next("It is started again by itself; `roam list` shows whether the session runs.")
}

/// The failure for an answer that does not fit the request.
#[must_use]
pub fn unexpected(answer: &Answer) -> Failure {
    Failure::undone(format!("The session's keeper gave an answer that does not fit ({answer:?})."))
        .next("It may be of another version than the agent.")
}

/// Asks whether somebody listens at a socket. Anything unclear counts as yes, so that a full
/// backlog or a lack of descriptors never looks like a death.
pub async fn alive(socket: &Path) -> Alive {
    match UnixStream::connect(socket).await {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Alive::No,
        _ => Alive::Yes,
    }
}
