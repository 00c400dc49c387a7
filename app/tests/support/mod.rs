//! For tests only: a fake agent on a unix socket, and scenes for it to tell.
#![allow(dead_code, reason = "each user of this module takes its part of it")]

pub mod scenes;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use roam_api::agent::{Reply, Request, Snapshot};
use roam_api::codec::{self, HEADER_LEN};

/// Answers a request; replies until the last one.
pub type Script = Arc<dyn Fn(&Request) -> Vec<Reply> + Send + Sync>;

/// A fake agent: tells snapshots to every watcher, and answers by a script.
pub struct FakeAgent {
    state: Arc<Mutex<State>>,
    watched: Arc<Condvar>,
    /// Every request but `Watch`, as it came.
    pub requests: Receiver<Request>,
}

struct State {
    snapshot: Snapshot,
    watchers: Vec<UnixStream>,
    gone: bool,
}

impl FakeAgent {
    /// Listens on the socket, which must not exist.
    pub fn start(socket: &Path, snapshot: Snapshot, script: Script) -> Self {
        let listener = UnixListener::bind(socket).expect("the socket can be made");
        let state = Arc::new(Mutex::new(State { snapshot, watchers: Vec::new(), gone: false }));
        let (sender, requests) = channel();
        let watched = Arc::new(Condvar::new());
        let (shared, signal) = (state.clone(), watched.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.lock().unwrap().gone {
                    return;
                }
                let (shared, signal) = (shared.clone(), signal.clone());
                let (sender, script) = (sender.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &shared, &signal, &sender, &script));
            }
        });
        Self { state, watched, requests }
    }

    /// Tells a new snapshot to everyone who watches.
    pub fn tell(&self, snapshot: Snapshot) {
        let mut state = self.state.lock().unwrap();
        let frame = codec::encode_frame(&Reply::Snapshot(snapshot.clone())).unwrap();
        state.snapshot = snapshot;
        state.watchers.retain_mut(|watcher| watcher.write_all(&frame).is_ok());
    }

    /// Returns once someone watches.
    pub fn wait_for_watcher(&self, limit: std::time::Duration) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) =
            self.watched.wait_timeout_while(state, limit, |state| state.watchers.is_empty()).unwrap();
        assert!(!timeout.timed_out(), "nobody watches");
    }

    /// Ends as a killed agent does: all connections close, and the socket file stays.
    pub fn die(self, socket: &Path) {
        let mut state = self.state.lock().unwrap();
        state.gone = true;
        for watcher in state.watchers.drain(..) {
            let _ = watcher.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        // Wakes the listener, which then drops its socket.
        let _ = UnixStream::connect(socket);
    }
}

fn serve(
    mut stream: UnixStream,
    state: &Mutex<State>,
    watched: &Condvar,
    requests: &Sender<Request>,
    script: &Script,
) {
    let mut header = [0; HEADER_LEN];
    if stream.read_exact(&mut header).is_err() {
        return;
    }
    let header = codec::parse_header(header).expect("the app sends whole frames");
    let mut body = vec![0; header.len];
    stream.read_exact(&mut body).expect("the body follows");
    let request: Request = codec::decode_body(&body).expect("the app sends requests");
    if request == Request::Watch {
        let mut state = state.lock().unwrap();
        let frame = codec::encode_frame(&Reply::Snapshot(state.snapshot.clone())).unwrap();
        if stream.write_all(&frame).is_ok() {
            state.watchers.push(stream);
            watched.notify_all();
        }
        return;
    }
    let replies = script(&request);
    let _ = requests.send(request);
    for reply in replies {
        let _ = stream.write_all(&codec::encode_frame(&reply).unwrap());
    }
}
