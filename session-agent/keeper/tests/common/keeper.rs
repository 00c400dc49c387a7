//! A real roam-keeper process over a test's folders.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roam_api::error::Failure;
use roam_api::keeper::{Answer, Identity, Reply, Request};
use roam_api::session::{MachineKey, SessionId, SessionSpec};
use roam_keeper::wire;

use super::{Folders, bytes};

/// How long any one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Running {
    child: Option<Child>,
    socket: PathBuf,
}

pub fn identity() -> Identity {
    Identity {
        id: SessionId { home: MachineKey([7; 32]), number: 1 },
        generation: 1,
        home: "desk".into(),
        host: "desk".into(),
    }
}

pub fn spec(folders: &Folders, script: &str) -> SessionSpec {
    let home = folders.path("home");
    let env = [("HOME", bytes(&home)), ("PATH", b"/usr/bin:/bin".to_vec())];
    SessionSpec {
        name: "test".into(),
        argv: ["/bin/sh", "-c", script].map(|s| s.as_bytes().to_vec()).to_vec(),
        env: env.into_iter().map(|(k, v)| (k.as_bytes().to_vec(), v)).collect::<BTreeMap<_, _>>(),
        cwd: bytes(&home),
        umask: 0o022,
        screen: false,
        publish: Vec::new(),
    }
}

impl Running {
    pub fn start(folders: &Folders) -> Self {
        // STATE/sessions/ID, so that what lies in STATE itself is the test's own too.
        Self::start_in(&folders.path("session"), &folders.path("state/sessions/x"))
    }

    pub fn start_in(session: &std::path::Path, state: &std::path::Path) -> Self {
        Self::start_with(session, state, &[])
    }

    /// One whose writes to the journal fail as planned.
    pub fn start_faulty(folders: &Folders, fault: &super::fault::Fault) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roam-keeper"));
        fault.apply(&mut command);
        Self::spawn(command, &folders.path("session"), &folders.path("state/sessions/x"), &[])
    }

    pub fn start_with(session: &std::path::Path, state: &std::path::Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_roam-keeper")), session, state, arguments)
    }

    fn spawn(
        mut command: Command,
        session: &std::path::Path,
        state: &std::path::Path,
        arguments: &[&str],
    ) -> Self {
        let mut child = command
            .arg("--dir")
            .arg(session)
            .arg("--state")
            .arg(state)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so when its socket is there.
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { child: Some(child), socket: session.join("keeper.sock") }
    }

    pub fn send(&self, request: &Request) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        wire::send(&stream, request, &[]).unwrap();
        stream
    }

    pub fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        Self::collect(&mut self.send(request)).1
    }

    /// Output of both streams, and the end.
    pub fn output(&self, request: &Request) -> ([String; 2], Result<Answer, Failure>) {
        Self::collect(&mut self.send(request))
    }

    pub fn collect(stream: &mut UnixStream) -> ([String; 2], Result<Answer, Failure>) {
        let mut output = [String::new(), String::new()];
        loop {
            match wire::receive::<Reply>(&mut *stream).unwrap().0 {
                Reply::Output { stream, bytes } => {
                    output[usize::from(stream) - 1].push_str(&String::from_utf8_lossy(&bytes));
                }
                Reply::Done(answer) => return (output, Ok(answer)),
                Reply::Failed(failure) => return (output, Err(failure)),
                Reply::Progress(_) | Reply::Info(_) => {}
            }
        }
    }

    /// Follows the log until this text came.
    pub fn follow(&self, text: &str) {
        let stream = self.send(&Request::Log { follow: true });
        let mut seen = String::new();
        while !seen.contains(text) {
            match wire::receive::<Reply>(&stream).unwrap().0 {
                Reply::Output { bytes, .. } => seen.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} before {text:?}, after {seen:?}"),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits until it was killed by a planned fault.
    pub fn died(mut self) {
        assert!(!self.child.take().unwrap().wait().unwrap().success());
    }

    /// kill -9.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for its own end.
    pub fn wait(mut self) {
        assert!(self.child.take().unwrap().wait().unwrap().success());
    }
}

impl Drop for Running {
    /// A test that failed leaves no session behind.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Ok(stream) = UnixStream::connect(&self.socket) {
            let _ = wire::send(&stream, &Request::Stop, &[]);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
            let _ = wire::receive::<Reply>(&stream);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
