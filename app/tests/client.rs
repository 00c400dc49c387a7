//! The client against a fake agent on a real socket: it watches, asks, survives a restart and
//! refuses garbage.

mod support;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use roam_api::agent::{Answer, Reply, Request};
use roam_api::error::Outcome;
use roam_app::agent_client::{self, AgentClient, Events};
use roam_app::model::Event;
use support::{FakeAgent, Script, scenes};

const LIMIT: Duration = Duration::from_secs(20);

fn willing() -> Script {
    Arc::new(scenes::willing)
}

fn client(socket: &std::path::Path) -> (AgentClient, Receiver<Event>) {
    let (events, receiver) = Events::new(Arc::new(|| {}));
    (AgentClient::new(socket.to_owned(), events, || {}), receiver)
}

fn next_snapshot(events: &Receiver<Event>) -> roam_api::agent::Snapshot {
    loop {
        if let Event::Snapshot(snapshot) = events.recv_timeout(LIMIT).expect("a snapshot comes") {
            return *snapshot;
        }
    }
}

#[test]
fn snapshots_come_at_once_and_after_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let agent = FakeAgent::start(&socket, scenes::empty(), willing());
    let (_client, events) = client(&socket);
    assert_eq!(next_snapshot(&events), scenes::empty());
    agent.tell(scenes::sessions());
    assert_eq!(next_snapshot(&events), scenes::sessions());
}

#[test]
fn a_request_is_asked_and_its_end_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let agent = FakeAgent::start(&socket, scenes::empty(), willing());
    let (client, events) = client(&socket);
    next_snapshot(&events);
    let request = Request::Park { session: "emacs".to_owned(), file: None };
    client.request(7, request.clone());
    assert_eq!(agent.requests.recv_timeout(LIMIT).unwrap(), request);
    assert_eq!(events.recv_timeout(LIMIT).unwrap(), Event::Finished { task: 7, result: Ok(Answer::Ok) });
}

#[test]
fn a_restarted_agent_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let agent = FakeAgent::start(&socket, scenes::empty(), willing());
    let (_client, events) = client(&socket);
    next_snapshot(&events);
    agent.die(&socket);
    std::fs::remove_file(&socket).unwrap();
    let _agent = FakeAgent::start(&socket, scenes::machines(), willing());
    assert_eq!(next_snapshot(&events), scenes::machines());
}

#[test]
fn sends_are_waited_for_and_progress_is_not_their_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let script: Script = Arc::new(|_| {
        vec![
            Reply::Progress(scenes::during().moves[0].progress.clone()),
            Reply::Done(Answer::Moved { from: "desk".into(), to: "laptop".into(), report: None }),
        ]
    });
    let _agent = FakeAgent::start(&socket, scenes::empty(), script);
    let (client, events) = client(&socket);
    let request = Request::Send { session: "emacs".into(), machine: "laptop".into(), cold: false };
    client.request(1, request);
    client.wait_for_sends();
    let ended = events.try_iter().any(|event| matches!(event, Event::Finished { task: 1, result: Ok(_) }));
    assert!(ended, "the end is there once waiting is over");
}

#[test]
fn garbage_is_an_error_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[0xff; 64]).unwrap();
    });
    let failure = agent_client::ask(&socket, &Request::List).unwrap_err();
    server.join().unwrap();
    assert_eq!(failure.outcome, Outcome::Unreachable);
    assert!(failure.next_step.is_some());
}

#[test]
fn no_agent_is_a_sentence_with_a_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let failure = agent_client::ask(&dir.path().join("agent.sock"), &Request::List).unwrap_err();
    assert_eq!(failure.sentence, "Roam's agent is not answering: no such file or directory.");
    assert!(failure.next_step.is_some());
}
