//! keeper.sock: one request per connection, answered as `roam_api::keeper` says.
//!
//! Refused: peers of another user; frames that don't decode (the connection is closed).

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roam_api::charge::Told;
use roam_api::codec::decode_body;
use roam_api::error::Failure;
use roam_api::keeper::{Answer, Reply, Request};
use roam_api::session::ShownOn;
use roam_link::frames;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{UnixListener, UnixStream};

use crate::exec;
use crate::keeper::{Keeper, LINGER, Phase};
use crate::migration::send::Target;
use crate::screen::attach::Started;
use crate::wire::Partial;

/// Serves until the keeper has nothing more to do.
///
/// # Errors
/// If the socket can't be made.
pub async fn serve(keeper: Arc<Keeper>) -> io::Result<()> {
    let path = keeper.dirs.socket();
    crate::pod::handle::remove_stale(&path)?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    // For whoever started this process: connecting works from here on.
    let _ = writeln!(io::stdout(), "ready");
    let connections = Arc::new(Connections::default());
    let mut quit = keeper.quit.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let mine = stream.peer_cred().is_ok_and(|c| c.uid() == nix::unistd::getuid().as_raw());
                if mine {
                    let (keeper, open) = (keeper.clone(), connections.open());
                    tokio::spawn(async move {
                        let _open = open;
                        if let Err(error) = answer(&keeper, stream).await {
                            tracing::debug!(%error, "a connection ended early");
                        }
                    });
                }
            }
            _ = quit.wait_for(|quit| *quit) => {
                // Let the last answers out before the process ends.
                let _ = std::fs::remove_file(&path);
                let _ = tokio::time::timeout(std::time::Duration::from_secs(2), connections.idle()).await;
                return Ok(());
            }
            () = forgotten(&keeper, &connections) => {
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
        }
    }
}

/// Returns when there has been neither a session nor a connection for a while.
async fn forgotten(keeper: &Keeper, connections: &Connections) {
    loop {
        connections.idle().await;
        let changed = connections.changed.notified();
        let mut phase = keeper.watch();
        let idle =
            !matches!(*phase.borrow_and_update(), Phase::Here { .. }) && keeper.turn.try_lock().is_ok();
        tokio::select! {
            () = changed => {}
            _ = phase.changed() => {}
            () = tokio::time::sleep(LINGER), if idle => return,
        }
    }
}

/// How many connections are open.
#[derive(Default)]
struct Connections {
    count: AtomicUsize,
    changed: tokio::sync::Notify,
}

struct Open(Arc<Connections>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Connections {
    fn open(self: &Arc<Self>) -> Open {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        Open(self.clone())
    }

    async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Reads the request, with descriptors if any came.
async fn request(stream: &UnixStream) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    let mut partial = Partial::default();
    loop {
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || partial.advance(stream.as_fd())) {
            Ok(Some((body, descriptors))) => {
                let request =
                    decode_body(&body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                return Ok(Some((request, descriptors)));
            }
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}

async fn answer(keeper: &Arc<Keeper>, mut stream: UnixStream) -> Result<(), frames::FrameError> {
    let Some((request, descriptors)) = request(&stream).await? else { return Ok(()) };
    let needs_session = matches!(
        request,
        Request::Wait
            | Request::Exec { .. }
            | Request::Park { .. }
            | Request::Send { .. }
            | Request::Attach { .. }
    );
    if needs_session {
        keeper.begun().await;
    }
    let result = match request {
        Request::Start { identity, spec } => keeper.start(identity, spec).await,
        Request::Adopt { host } => keeper.adopt(host),
        Request::Info => keeper.info().map(Answer::Info),
        Request::Watch => return watch(keeper, stream).await,
        Request::Wait => wait(keeper).await,
        Request::Log { follow } => log(keeper, &mut stream, follow).await,
        Request::Stop => keeper.stop().await,
        Request::Withdraw => keeper.withdraw().await,
        Request::Exec { argv } => match keeper.live() {
            Ok(live) => exec::run(&live, argv, &mut stream).await,
            Err(failure) => Err(failure),
        },
        Request::Park { file } => keeper.park(file).await,
        Request::Resume { identity, file } => keeper.resume(identity, file).await,
        Request::Receive { identity, from, lane, most_memory } => {
            keeper.receive(identity, from, lane, most_memory)
        }
        Request::Questions { identity, from, lane } => keeper.answer(identity, from, lane),
        Request::Lane { token } => keeper.lane(token, descriptors),
        Request::Send { to, to_key: key, addresses, lane, cold } => {
            send(keeper, &mut stream, Target { name: to, key, addresses, secret: lane }, cold).await
        }
        Request::CancelSend => {
            keeper.cancel.send_replace(true);
            Ok(Answer::Ok)
        }
        Request::Attach { machine, view_only } => {
            return attach(keeper, stream, ShownOn { machine, view_only }).await;
        }
        Request::Detach { machine } => {
            keeper.displays.stop(machine.as_deref());
            Ok(Answer::Ok)
        }
    };
    let reply = match result {
        Ok(answer) => Reply::Done(answer),
        Err(failure) => Reply::Failed(failure),
    };
    frames::write(&mut stream, &reply).await
}

/// Moves the session; a client that goes away cancels, where that is still possible.
async fn send(
    keeper: &Arc<Keeper>,
    stream: &mut UnixStream,
    target: Target,
    cold: bool,
) -> Result<Answer, Failure> {
    let (tell, mut progress) = tokio::sync::mpsc::channel(8);
    let mut moving = std::pin::pin!(keeper.send(target, cold, tell));
    let (mut from_client, mut to_client) = stream.split();
    let (mut nothing, mut there) = ([0], true);
    loop {
        tokio::select! {
            // The move begins before anybody can cancel it: else that would be forgotten.
            biased;
            result = &mut moving => return result.map(Answer::Moved),
            Some(progress) = progress.recv() => {
                let _ = frames::write(&mut to_client, &Reply::Progress(progress)).await;
            }
            _ = from_client.read(&mut nothing), if there => {
                there = false;
                keeper.cancel.send_replace(true);
            }
        }
    }
}

/// Answers Ok and hands the connection to a display of its own.
async fn attach(
    keeper: &Arc<Keeper>,
    mut stream: UnixStream,
    shown: ShownOn,
) -> Result<(), frames::FrameError> {
    let refuse = |stream: UnixStream, failure| async move {
        let mut stream = stream;
        frames::write(&mut stream, &Reply::Failed(failure)).await
    };
    let live = match keeper.live() {
        Ok(live) if live.facts.cookie.is_some() => live,
        Ok(live) => {
            let none = Failure::refused(format!("{} has no screen.", live.spec.name))
                .next("It was started with --no-screen; read its output with `roam log`.");
            return refuse(stream, none).await;
        }
        Err(failure) => return refuse(stream, failure).await,
    };
    frames::write(&mut stream, &Reply::Done(Answer::Ok)).await?;
    match keeper.displays.start(&live, shown, stream.into_std()?) {
        Ok(Started { number, mut child, stopped, tells }) => {
            keeper.touch();
            let told = tokio::spawn(listen(keeper.clone(), tells));
            tokio::select! {
                _ = child.wait() => {}
                _ = stopped => { let _ = child.kill().await; }
            }
            told.abort();
            keeper.displays.ended(number);
            keeper.touch();
        }
        Err(failure) => tracing::error!(%failure, "a display did not start"),
    }
    Ok(())
}

/// Hears a display until it ends, or says what it may not.
async fn listen(keeper: Arc<Keeper>, mut tells: UnixStream) {
    while let Ok(Some(told)) = frames::read::<Told>(&mut tells).await {
        if !told.is_sound() {
            return;
        }
        let Told::Titles(titles) = told;
        keeper.displays.set_titles(titles);
        keeper.touch();
    }
}

async fn watch(keeper: &Arc<Keeper>, mut stream: UnixStream) -> Result<(), frames::FrameError> {
    let mut phase = keeper.watch();
    let mut quit = keeper.quit.subscribe();
    let mut nothing = [0];
    loop {
        phase.borrow_and_update();
        if let Ok(info) = keeper.info() {
            frames::write(&mut stream, &Reply::Info(info)).await?;
        }
        tokio::select! {
            // The last change is told before the keeper ends.
            biased;
            changed = phase.changed() => if changed.is_err() { return Ok(()) },
            _ = quit.wait_for(|quit| *quit) => return Ok(()),
            // The client says nothing more: whatever comes is its end.
            _ = stream.read(&mut nothing) => return Ok(()),
        }
    }
}

async fn wait(keeper: &Arc<Keeper>) -> Result<Answer, Failure> {
    use roam_api::session::SessionState;
    let mut phase = keeper.watch();
    loop {
        match &*phase.borrow_and_update() {
            Phase::Empty => return Err(Failure::wrong_use("This keeper has no session yet.")),
            Phase::Away { state: SessionState::Ended { status }, .. } => {
                return Ok(Answer::Ended { status: *status });
            }
            _ => {}
        }
        if phase.changed().await.is_err() {
            return Err(Failure::undone("The keeper ends."));
        }
    }
}

async fn log(keeper: &Arc<Keeper>, stream: &mut UnixStream, follow: bool) -> Result<Answer, Failure> {
    let unreadable = |e: io::Error| Failure::undone(format!("The session's output can't be read: {e}."));
    let (mut from_client, mut to_client) = stream.split();
    let mut reader = keeper.log.reader();
    loop {
        while let Some((stream, bytes)) = reader.next_record().map_err(unreadable)? {
            if frames::write(&mut to_client, &Reply::Output { stream, bytes }).await.is_err() {
                return Ok(Answer::Ok);
            }
        }
        if !follow {
            return Ok(Answer::Ok);
        }
        let mut nothing = [0];
        tokio::select! {
            more = reader.wait() => if !more {
                while let Some((stream, bytes)) = reader.next_record().map_err(unreadable)? {
                    let _ = frames::write(&mut to_client, &Reply::Output { stream, bytes }).await;
                }
                return Ok(Answer::Ok);
            },
            _ = from_client.read(&mut nothing) => return Ok(Answer::Ok),
        }
    }
}
