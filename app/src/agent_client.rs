//! The way to the agent: one connection that watches, and one per request, each with a thread that
//! sleeps in a read. Starts the agent when there is none, and comes back by itself when the agent
//! was restarted.
//!
//! Closing a connection cancels a send (see [`roam_api::agent`]), so a client that goes away waits
//! for its sends first: [`AgentClient::wait_for_sends`].

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use roam_api::agent::{Answer, Reply, Request};
use roam_api::codec::{self, HEADER_LEN};
use roam_api::error::Failure;

use crate::model::Event;
use crate::paths;
use crate::text::{Text, Told};

/// Events that wait for the next frame, at most. A full queue stops the reader, not the app.
const MOST_EVENTS: usize = 64;
/// Waits between attempts to reach the agent: it is being started meanwhile.
const WAITS_MS: [u64; 6] = [50, 100, 250, 500, 1_000, 3_000];

/// Wakes the one who reads the events.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A sender of events that wakes the reader.
#[derive(Clone)]
pub struct Events {
    sender: SyncSender<Event>,
    wake: Wake,
}

impl Events {
    /// A queue of events.
    #[must_use]
    pub fn new(wake: Wake) -> (Self, std::sync::mpsc::Receiver<Event>) {
        let (sender, receiver) = sync_channel(MOST_EVENTS);
        (Self { sender, wake }, receiver)
    }

    /// Queues an event; false when nobody reads any more.
    #[must_use]
    pub fn send(&self, event: Event) -> bool {
        let alive = self.sender.send(event).is_ok();
        (self.wake)();
        alive
    }
}

/// The app's end of the agent's socket.
pub struct AgentClient {
    socket: PathBuf,
    events: Events,
    sends: Mutex<Vec<JoinHandle<()>>>,
}

impl AgentClient {
    /// Begins to watch; where there is no agent, `start` is to start one.
    #[must_use]
    pub fn new(socket: PathBuf, events: Events, start: fn()) -> Self {
        let (path, sender) = (socket.clone(), events.clone());
        thread::Builder::new().name("watch".into()).spawn(move || watch(&path, &sender, start)).ok();
        Self { socket, events, sends: Mutex::default() }
    }

    /// Asks the agent; the end comes as [`Event::Finished`].
    pub fn request(&self, task: u64, request: Request) {
        let (path, events) = (self.socket.clone(), self.events.clone());
        let is_send = matches!(request, Request::Send { .. });
        let thread = thread::Builder::new().name("request".into()).spawn(move || {
            let result = ask(&path, &request);
            let _ = events.send(Event::Finished { task, result });
        });
        match thread {
            Ok(handle) if is_send => {
                if let Ok(mut sends) = self.sends.lock() {
                    sends.retain(|send| !send.is_finished());
                    sends.push(handle);
                }
            }
            Ok(_) => {}
            Err(error) => {
                let _ = self.events.send(Event::Finished { task, result: Err(broke(&error)) });
            }
        }
    }

    /// Returns once every send that was asked here has ended: leaving earlier would cancel it.
    pub fn wait_for_sends(&self) {
        let sends = self.sends.lock().map(|mut sends| std::mem::take(&mut *sends)).unwrap_or_default();
        for send in sends {
            let _ = send.join();
        }
    }
}

/// Watches for as long as someone reads the events.
fn watch(socket: &std::path::Path, events: &Events, start: fn()) {
    let mut attempt = 0;
    loop {
        let error = match UnixStream::connect(socket) {
            Ok(stream) => match read_snapshots(stream, events, &mut attempt) {
                Ok(()) => return,
                Err(error) => error,
            },
            Err(error) => {
                // Nobody listens. At first that means there is none; after a lost connection the
                // agent may be coming back by itself, so it is given a moment.
                if attempt == 0 || attempt == 3 {
                    start();
                }
                error
            }
        };
        // A restart is over in a moment; only what lasts longer is told.
        if attempt >= 4 && !events.send(Event::Lost(no_agent(&error))) {
            return;
        }
        thread::sleep(Duration::from_millis(WAITS_MS[attempt.min(WAITS_MS.len() - 1)]));
        attempt += 1;
        // An agent that never comes up is started again now and then.
        if attempt > 20 {
            attempt = 0;
        }
    }
}

/// Reads until the stream ends (an error) or nobody listens any more.
fn read_snapshots(mut stream: UnixStream, events: &Events, attempt: &mut usize) -> std::io::Result<()> {
    write(&mut stream, &Request::Watch)?;
    loop {
        match read(&mut stream)? {
            Reply::Snapshot(snapshot) => {
                *attempt = 0;
                if !events.send(Event::Snapshot(Box::new(snapshot))) {
                    return Ok(());
                }
            }
            Reply::Failed(failure) => return Err(std::io::Error::other(failure.sentence)),
            _ => return Err(std::io::Error::other("an answer that was not asked for")),
        }
    }
}

/// One request, to its end.
///
/// # Errors
/// The agent's failure, or that the agent could not be reached.
pub fn ask(socket: &std::path::Path, request: &Request) -> Result<Answer, Failure> {
    let mut stream = UnixStream::connect(socket).map_err(|error| no_agent(&error))?;
    write(&mut stream, request).map_err(|error| broke(&error))?;
    loop {
        match read(&mut stream).map_err(|error| broke(&error))? {
            Reply::Done(answer) => return Ok(answer),
            Reply::Failed(failure) => return Err(failure),
            // The watching connection tells progress, also that of other people's sends.
            Reply::Progress(_) | Reply::Output { .. } | Reply::Snapshot(_) => {}
        }
    }
}

fn write(stream: &mut UnixStream, request: &Request) -> std::io::Result<()> {
    stream.write_all(&codec::encode_frame(request).map_err(std::io::Error::other)?)
}

fn read(stream: &mut UnixStream) -> std::io::Result<Reply> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let header = codec::parse_header(header).map_err(std::io::Error::other)?;
    let mut body = vec![0; header.len];
    stream.read_exact(&mut body)?;
    codec::decode_body(&body).map_err(std::io::Error::other)
}

/// Starts `roam agent` and leaves it to itself.
pub fn start_agent() {
    use std::os::unix::process::CommandExt;
    let child = Process::new(paths::program("roam"))
        .arg("agent")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    if let Ok(mut child) = child {
        thread::spawn(move || child.wait());
    }
}

fn no_agent(error: &std::io::Error) -> Failure {
    let why = reason(error);
    Failure::unreachable(Text::Told(Told::NoAgent(&why)).say()).next(Text::Told(Told::NoAgentNext).say())
}

fn broke(error: &std::io::Error) -> Failure {
    let why = reason(error);
    Failure::unreachable(Text::Told(Told::AgentBroke(&why)).say())
        .next(Text::Told(Told::AgentBrokeNext).say())
}

/// The error's words without its number and full stop.
fn reason(error: &std::io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default().trim_end_matches('.');
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
