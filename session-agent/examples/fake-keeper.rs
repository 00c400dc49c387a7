//! A keeper without a pod, for the agent's tests: it speaks `roam_api::keeper` and pretends.
//!
//! A session is a flag; `exec` runs the command outside of any pod; a move sends one line over a
//! real lane. It is an example so that it is built by `cargo test` and never shipped.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use roam_api::agent::Input;
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer, Identity, LaneSecret, Reply, Request};
use roam_api::session::{
    MoveProgress, MoveReport, MoveStage, ParkReport, SessionInfo, SessionSpec, SessionState, ShownOn,
    WakeReport,
};
use roam_link::{frames, lane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

struct Fake {
    dir: PathBuf,
    info: watch::Sender<Option<SessionInfo>>,
    secret: Mutex<Option<LaneSecret>>,
    /// Only questions are answered: with "nothing".
    asked: std::sync::atomic::AtomicBool,
    cancel: tokio::sync::Notify,
    detach: tokio::sync::broadcast::Sender<Option<String>>,
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
    std::fs::write(dir.join("keeper.pid"), std::process::id().to_string()).unwrap();
    // Whatever a test forgets ends by itself.
    std::thread::spawn(|| {
        std::thread::sleep(std::time::Duration::from_secs(120));
        std::process::exit(1)
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = std::fs::remove_file(dir.join("keeper.sock"));
        let listener = UnixListener::bind(dir.join("keeper.sock")).unwrap();
        let fake = Arc::new(Fake {
            dir,
            info: watch::Sender::new(None),
            secret: Mutex::default(),
            asked: false.into(),
            cancel: tokio::sync::Notify::new(),
            detach: tokio::sync::broadcast::Sender::new(4),
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

/// The pod's init is a process that outlives its keeper: here a sleep that holds the socket.
#[allow(clippy::zombie_processes)] // It is meant to outlive us, and ends by itself.
fn start_init(fake: &Fake) {
    let path = fake.dir.join("init.sock");
    let _ = std::fs::remove_file(&path);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let child = std::process::Command::new("sleep")
        .arg("120")
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
async fn first(stream: &UnixStream) -> Option<(Request, Option<OwnedFd>)> {
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    let mut want = roam_api::codec::HEADER_LEN;
    while bytes.len() < want {
        stream.readable().await.ok()?;
        let mut buffer = vec![0; want - bytes.len()];
        let got = stream.try_io(tokio::io::Interest::READABLE, || {
            roam_sys::fdpass::receive(stream.as_fd(), &mut buffer, &mut descriptors)
        });
        match got {
            Ok(0) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return None,
        }
        if bytes.len() == roam_api::codec::HEADER_LEN {
            let head = roam_api::codec::parse_header(bytes[..].try_into().ok()?).ok()?;
            want += head.len;
        }
    }
    let request = roam_api::codec::decode_body(&bytes[roam_api::codec::HEADER_LEN..]).ok()?;
    Some((request, descriptors.pop()))
}

async fn serve(fake: Arc<Fake>, mut stream: UnixStream) {
    let Some((request, descriptor)) = first(&stream).await else { return };
    match request {
        Request::Watch => return watch(&fake, &mut stream).await,
        Request::Exec { argv } => return exec(&argv, stream).await,
        Request::Attach { machine, view_only } => return attach(&fake, stream, machine, view_only).await,
        _ => {}
    }
    let (result, ends) = answer(&fake, request, descriptor, &mut stream).await;
    let reply = match result {
        Ok(answer) => Reply::Done(answer),
        Err(failure) => Reply::Failed(failure),
    };
    let _ = frames::write(&mut stream, &reply).await;
    if ends {
        end(&fake).await;
    }
}

async fn answer(
    fake: &Arc<Fake>,
    request: Request,
    descriptor: Option<OwnedFd>,
    stream: &mut UnixStream,
) -> (Result<Answer, Failure>, bool) {
    let set = |info: SessionInfo| {
        fake.info.send_replace(Some(info));
    };
    match request {
        Request::Start { identity, spec } => {
            if spec.argv[0] == b"/nonexistent" {
                return (Err(Failure::refused("There is no such program.")), true);
            }
            std::fs::write(fake.dir.join("log"), b"hello from the session\n").unwrap();
            start_init(fake);
            let SessionSpec { name, argv, screen, .. } = spec;
            let command = String::from_utf8_lossy(&argv.join(&b" "[..])).into_owned();
            set(info(&identity, &name, command, SessionState::Running, screen));
            remember(fake);
            dies_if_fragile(fake);
            (Ok(Answer::Ok), false)
        }
        Request::Adopt { host } => {
            let Ok(bytes) = std::fs::read(fake.dir.join("info.json")) else {
                return (Err(Failure::refused("Nothing is recorded.")), false);
            };
            let mut info: SessionInfo = serde_json::from_slice(&bytes).unwrap();
            info.host = host;
            set(info.clone());
            (Ok(Answer::Info(info)), false)
        }
        Request::Resume { identity, file } => {
            let mut info: SessionInfo = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            start_init(fake);
            if info.name == "fragile" {
                info.generation = identity.generation;
                set(info.clone());
                remember(fake);
                dies_if_fragile(fake);
            }
            // As a real one: its first word is of the sleep, and the next one may come after the answer.
            set(info.clone());
            info.generation = identity.generation;
            info.state = SessionState::Running;
            let fake = fake.clone();
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                fake.info.send_replace(Some(info));
                remember(&fake);
            });
            (Ok(Answer::Resumed(WakeReport { pod_ms: 1.0, restored_ms: 1.0 })), false)
        }
        Request::Receive { identity, from, lane, .. } => {
            if fake.secret.lock().unwrap().replace(lane).is_none() {
                start_init(fake);
            }
            set(info(&identity, "arriving", String::new(), SessionState::Receiving { from }, false));
            (Ok(Answer::Listening), false)
        }
        Request::Lane { .. } => {
            let secret = fake.secret.lock().unwrap().clone();
            tokio::spawn(receive(fake.clone(), descriptor.unwrap(), secret.unwrap()));
            (Ok(Answer::Ok), false)
        }
        Request::Send { to, addresses, lane, .. } => send(fake, to, addresses, lane, stream).await,
        Request::Questions { lane, .. } => {
            *fake.secret.lock().unwrap() = Some(lane);
            fake.asked.store(true, Ordering::SeqCst);
            (Ok(Answer::Listening), false)
        }
        Request::Withdraw if fake.asked.load(Ordering::SeqCst) => (Ok(Answer::Ok), true),
        Request::CancelSend => {
            fake.cancel.notify_one();
            (Ok(Answer::Ok), false)
        }
        Request::Info => (Ok(Answer::Info(fake.info.borrow().clone().unwrap())), false),
        Request::Log { .. } => {
            let bytes = std::fs::read(fake.dir.join("log")).unwrap();
            let _ = frames::write(stream, &Reply::Output { stream: 1, bytes }).await;
            (Ok(Answer::Ok), false)
        }
        Request::Stop => {
            let mut info = fake.info.borrow().clone().unwrap();
            info.state = SessionState::Ended { status: 143 };
            set(info);
            (Ok(Answer::Ok), true)
        }
        Request::Park { file } => {
            let info = fake.info.borrow().clone().unwrap();
            std::fs::write(&file, serde_json::to_vec(&info).unwrap()).unwrap();
            (Ok(Answer::Parked(ParkReport { bytes: 1, frozen_ms: 1.0, rounds: vec![] })), true)
        }
        Request::Detach { machine } => {
            let _ = fake.detach.send(machine);
            (Ok(Answer::Ok), false)
        }
        Request::Withdraw if fake.info.borrow().is_none() => (Ok(Answer::Ok), true),
        other => (Err(Failure::refused(format!("The fake keeper can't do {other:?}."))), false),
    }
}

/// A session called `fragile` outlives its keeper from the start: that is killed before it can answer.
fn dies_if_fragile(fake: &Fake) {
    if fake.info.borrow().as_ref().is_some_and(|info| info.name == "fragile") {
        std::process::exit(1);
    }
}

/// What the next keeper needs to adopt the pod.
fn remember(fake: &Fake) {
    let info = fake.info.borrow().clone().unwrap();
    std::fs::write(fake.dir.join("info.json"), serde_json::to_vec(&info).unwrap()).unwrap();
}

async fn watch(fake: &Fake, stream: &mut UnixStream) {
    let mut changes = fake.info.subscribe();
    loop {
        let info = changes.borrow_and_update().clone();
        if let Some(info) = info
            && frames::write(stream, &Reply::Info(info)).await.is_err()
        {
            return;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// A session called `slow` waits in pre-copy until it is cancelled or nobody waits for it any more; one called `late`
/// moves and says nothing of it before nobody waits for it any more; one called `unheard` commits, and nobody confirms
/// that; any other moves at once.
async fn send(
    fake: &Arc<Fake>,
    to: String,
    addresses: Vec<String>,
    secret: LaneSecret,
    stream: &mut UnixStream,
) -> (Result<Answer, Failure>, bool) {
    let running = fake.info.borrow().clone().unwrap();
    if running.name == "unheard" {
        return (Err(unheard(fake, running, to, &addresses, &secret).await), false);
    }
    let at = |stage| {
        let state = SessionState::Sending { to: to.clone(), stage };
        fake.info.send_replace(Some(SessionInfo { state, ..running.clone() }));
    };
    at(MoveStage::PreCopy);
    let progress = MoveProgress { stage: MoveStage::PreCopy, bytes_sent: 1, bytes_total: 2, elapsed_ms: 1 };
    let _ = frames::write(stream, &Reply::Progress(progress)).await;
    let mut nothing = [0];
    if running.name == "slow" {
        tokio::select! {
            () = fake.cancel.notified() => {}
            _ = stream.read(&mut nothing) => {}
        }
        fake.info.send_replace(Some(running));
        return (Err(Failure::undone("The move was cancelled.")), false);
    }
    let mut lane = match lane::connect(&addresses, &secret).await {
        Ok(lane) => lane,
        Err(error) => {
            fake.info.send_replace(Some(running));
            return (Err(Failure::undone(format!("No lane: {error}."))), false);
        }
    };
    frames::write(&mut lane, &running).await.unwrap();
    let _: String = frames::expect(&mut lane).await.unwrap();
    if running.name == "late" {
        at(MoveStage::Commit);
        let _ = stream.read(&mut nothing).await;
    }
    let report = MoveReport {
        downtime_ms: 1.5,
        downtime_uncertainty_ms: 0.1,
        total_ms: 7,
        phases: vec![(MoveStage::PreCopy, 2.0)],
        rounds: vec![],
        bytes_sent: 100,
        checkpoint_bytes: 90,
        connections_kept: 0,
        connections_lost: 0,
    };
    (Ok(Answer::Moved(report)), true)
}

/// Commits, then asks the target again and again.
async fn unheard(
    fake: &Fake,
    info: SessionInfo,
    to: String,
    addresses: &[String],
    secret: &LaneSecret,
) -> Failure {
    let open = Failure::new(Outcome::Unconfirmed, "Nobody confirmed it.");
    if info.state == SessionState::Running {
        let state = SessionState::Sending { to, stage: MoveStage::Commit };
        fake.info.send_replace(Some(SessionInfo { state, ..info }));
        return open;
    }
    let Ok(mut lane) = lane::connect(addresses, secret).await else { return open };
    frames::write(&mut lane, &info).await.unwrap();
    match frames::expect::<String>(&mut lane).await.as_deref() {
        Ok("nothing") => {
            fake.info.send_replace(Some(SessionInfo { state: SessionState::Running, ..info }));
            Failure::undone("The target has nothing of it.")
        }
        _ => open,
    }
}

async fn receive(fake: Arc<Fake>, descriptor: OwnedFd, secret: LaneSecret) {
    let stream = std::net::TcpStream::from(descriptor);
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    let mut lane = lane::accept(stream, &secret).await.unwrap();
    let came: SessionInfo = frames::expect(&mut lane).await.unwrap();
    if came.name == "unheard" {
        let word = if fake.asked.load(Ordering::SeqCst) { "nothing" } else { "prepared" };
        frames::write(&mut lane, &word).await.unwrap();
        return;
    }
    let mut info = fake.info.borrow().clone().unwrap();
    info.name = came.name;
    info.command = came.command;
    info.screen = came.screen;
    info.state = SessionState::Running;
    fake.info.send_replace(Some(info));
    std::fs::write(fake.dir.join("log"), b"hello from the session\n").unwrap();
    remember(&fake);
    frames::write(&mut lane, &"activated").await.unwrap();
}

async fn exec(argv: &[Vec<u8>], stream: UnixStream) {
    use std::os::unix::ffi::OsStrExt;
    let words: Vec<&std::ffi::OsStr> = argv.iter().map(|word| std::ffi::OsStr::from_bytes(word)).collect();
    let mut child = tokio::process::Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    let (mut hear, mut say) = stream.into_split();
    let (tell, mut outputs) = tokio::sync::mpsc::channel(4);
    let tell_too = tell.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = stdout.read(&mut buffer).await {
            let _ = tell.send(Reply::Output { stream: 1, bytes: buffer[..n].to_vec() }).await;
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
            let _ = tell_too.send(Reply::Output { stream: 2, bytes: buffer[..n].to_vec() }).await;
        }
    });
    let input = async {
        while let Ok(Some(input)) = frames::read::<Input>(&mut hear).await {
            match input {
                Input::Bytes(bytes) => {
                    if let Some(stdin) = &mut stdin {
                        let _ = stdin.write_all(&bytes).await;
                    }
                }
                Input::End => stdin = None,
                Input::Signal(number) => {
                    let signal = nix::sys::signal::Signal::try_from(number).unwrap();
                    let _ = nix::sys::signal::kill(pid, signal);
                }
            }
        }
    };
    let output = async {
        while let Some(reply) = outputs.recv().await {
            frames::write(&mut say, &reply).await.unwrap();
        }
        let status = child.wait().await.unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let status = status.code().unwrap_or_else(|| 128 + signal.unwrap());
        let _ = frames::write(&mut say, &Reply::Done(Answer::Ended { status })).await;
    };
    tokio::select! {
        () = output => {}
        () = input => {}
    }
}

/// A display that echoes every byte.
async fn attach(fake: &Fake, mut stream: UnixStream, machine: String, view_only: bool) {
    frames::write(&mut stream, &Reply::Done(Answer::Ok)).await.unwrap();
    let shown = |on: bool| {
        fake.info.send_modify(|info| {
            if let Some(info) = info {
                info.shown_on.retain(|shown| shown.machine != machine);
                if on {
                    info.shown_on.push(ShownOn { machine: machine.clone(), view_only });
                }
            }
        });
    };
    shown(true);
    let mut detached = fake.detach.subscribe();
    let meant = async {
        while let Ok(of) = detached.recv().await {
            if of.is_none_or(|of| of == machine) {
                return;
            }
        }
    };
    let (mut hear, mut say) = stream.split();
    tokio::select! {
        _ = tokio::io::copy(&mut hear, &mut say) => {}
        () = meant => {}
    }
    shown(false);
}
