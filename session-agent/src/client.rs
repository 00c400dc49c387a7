//! Connecting to this user's agent, starting it if there is none.
//!
//! Starting is free of races: a starter holds a lock file while it looks again and starts; the
//! agent says `ready` on its standard output once its socket listens.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use roam_api::agent::{Reply, Request};
use roam_api::error::Failure;
use roam_link::frames::{self, FrameError};
use tokio::net::UnixStream;

use crate::paths::{Paths, program};

/// The word with which an agent says that its socket listens.
pub const READY: &str = "ready";

/// A conversation with the agent.
#[derive(Debug)]
pub struct Client {
    /// The connection, for those who relay it.
    pub stream: UnixStream,
}

impl Client {
    /// Connects to the agent that runs.
    ///
    /// # Errors
    /// Unreachable, if none runs.
    pub async fn connect(paths: &Paths) -> Result<Self, Failure> {
        let stream = UnixStream::connect(paths.agent_socket()).await.map_err(|error| {
            Failure::unreachable(format!("The Roam agent does not run ({error})."))
                .next("Start it with `roam agent`.")
        })?;
        let peer = stream.peer_cred().map_err(|error| broken(&error.into()))?.uid();
        if peer != nix::unistd::geteuid().as_raw() {
            return Err(Failure::refused("The Roam agent's socket belongs to another user."));
        }
        Ok(Self { stream })
    }

    /// Connects to the agent, starting it first if there is none.
    ///
    /// # Errors
    /// If it can't be started, with the end of its log.
    pub async fn connect_or_start(paths: &Paths) -> Result<Self, Failure> {
        if let Ok(client) = Self::connect(paths).await {
            return Ok(client);
        }
        paths.prepare()?;
        let lock = lock(paths, "start.lock", FlockArg::LockExclusive)?;
        if Self::connect(paths).await.is_err() {
            start(paths)?;
        }
        drop(lock);
        Self::connect(paths).await
    }

    /// Sends the request that opens the conversation.
    ///
    /// # Errors
    /// If the agent is gone.
    pub async fn say(&mut self, request: &Request) -> Result<(), Failure> {
        frames::write(&mut self.stream, request).await.map_err(|error| broken(&error))
    }

    /// The agent's next message.
    ///
    /// # Errors
    /// If the agent is gone or speaks another language.
    pub async fn hear(&mut self) -> Result<Reply, Failure> {
        frames::expect(&mut self.stream).await.map_err(|error| broken(&error))
    }
}

fn broken(error: &FrameError) -> Failure {
    Failure::unreachable(format!("The Roam agent stopped answering: {error}."))
        .next("Sessions go on without it; try again, and it is started anew.")
}

/// Takes one of the lock files in the runtime folder.
///
/// # Errors
/// If it can't be made, or is held and `how` does not wait.
pub fn lock(paths: &Paths, name: &str, how: FlockArg) -> Result<Flock<File>, Failure> {
    let path = paths.runtime.join(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(
        |error| Failure::refused(format!("The lock file {} can't be made: {error}.", path.display())),
    )?;
    Flock::lock(file, how).map_err(|(_, error)| {
        Failure::refused(format!("The lock file {} can't be taken: {error}.", path.display()))
    })
}

fn start(paths: &Paths) -> Result<(), Failure> {
    let agent = program("roam-agent");
    let log_path = paths.state.join("agent.log");
    let failed = |why: String| {
        Failure::unreachable(format!("The Roam agent can't be started: {why}."))
            .next(format!("Its log is {}.", log_path.display()))
    };
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(&agent)
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(|error| failed(format!("{}: {error}", agent.display())))?;
    let mut word = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout.take(READY.len() as u64 + 1)).read_line(&mut word);
    }
    if word.trim() == READY {
        return Ok(());
    }
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let log = std::fs::read_to_string(&log_path).unwrap_or_default();
    let last = log.lines().last().unwrap_or("it said nothing");
    Err(failed(format!("{last} ({status})")))
}
