//! A keeper without a pod, for the agent's tests: it speaks `roam_api::keeper` and pretends.
//!
//! A session is a flag; `exec` runs the command outside of any pod; a move sends one line over a
//! real lane. It is an example so that it is built by `cargo test` and never shipped.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use roam_api::agent::Input;
use roam_api::error::Failure;
use roam_api::keeper::{Answer, Identity, LaneSecret, Reply, Request};
use roam_api::session::{
    MoveProgress, MoveReport, MoveStage, SessionInfo, SessionSpec, SessionState, ShownOn,
};
use roam_link::{frames, lane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

struct Fake {
    dir: PathBuf,
    info: watch::Sender<Option<SessionInfo>>,
    secret: Mutex<Option<LaneSecret>>,
    cancel: tokio::sync::Notify,
    detach: tokio::sync::Notify,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name).expect("an argument is missing");
        PathBuf::from(&arguments[at + 1])
    };
    let dir = value("--dir");
    let state = value("--state");
    assert!(state.is_dir());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = std::fs::remove_file(dir.join("keeper.sock"));
        let listener = UnixListener::bind(dir.join("keeper.sock")).unwrap();
        let fake = Arc::new(Fake {
            dir,
            info: watch::Sender::new(None),
            secret: Mutex::default(),
            cancel: tokio::sync::Notify::new(),
            detach: tokio::sync::Notify::new(),
        });
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(fake.clone(), stream));
        }
    });
}

fn info(identity: &Identity, name: &str, command: String, state: SessionState, screen: bool) -> SessionInfo {
    SessionInfo {
        id: identity.id,
        generation: identity.generation,
        name: name.into(),
        home: identity.home.clone(),
        host: identity.host.clone(),
        state,
        command,
        titles: vec![],
        shown_on: vec![],
        processes: 1,
        memory_bytes: 1 << 20,
        started_unix: 1,
        screen,
    }
}

/// The pod's init is a process that outlives its keeper: here a shell that holds the socket.
fn start_init(fake: &Fake) {
    let path = fake.dir.join("init.sock");
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let child = std::process::Command::new("sleep")
        .arg("600")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::fs::write(fake.dir.join("init.pid"), child.id().to_string()).unwrap();
}

fn stop_init(fake: &Fake) {
    if let Ok(pid) = std::fs::read_to_string(fake.dir.join("init.pid")) {
        let _ = std::process::Command::new("kill").args(["-9", pid.trim()]).status();
    }
}

async fn end(fake: &Fake) -> ! {
    stop_init(fake);
    // Watchers get the last word before the socket goes.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    std::process::exit(0)
}

/// Reads the first frame, and the descriptor that may come with it.
async fn first(stream: &mut UnixStream) -> Option<(Request, Option<OwnedFd>)> {
    stream.readable().await.ok()?;
    let mut fd = None;
    let mut head = [0u8; 8];
    loop {
        let got = stream.try_io(tokio::io::Interest::READABLE, || {
            let mut space = nix::cmsg_space!([i32; 1]);
            let mut parts = [std::io::IoSliceMut::new(&mut head)];
            let message = nix::sys::socket::recvmsg::<()>(
                stream.as_raw_fd(),
                &mut parts,
                Some(&mut space),
                nix::sys::socket::MsgFlags::MSG_CMSG_CLOEXEC,
            )?;
            for control in message.cmsgs()? {
                if let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = control {
                    fd = fds.first().copied();
                }
            }
            Ok(message.bytes)
        });
        match got {
            Ok(8) => break,
            Ok(_) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => stream.readable().await.ok()?,
            Err(_) => return None,
        }
    }
    let header = roam_api::codec::parse_header(head).ok()?;
    let mut body = vec![0; header.len];
    stream.read_exact(&mut body).await.ok()?;
    let fd = fd.map(reopen);
    Some((roam_api::codec::decode_body(&body).ok()?, fd))
}
