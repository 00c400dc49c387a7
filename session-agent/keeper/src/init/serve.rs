//! roam-init's loop: children that end, keepers that ask, the guard that closes.
//!
//! Refused: peers of another user, frames that don't decode (that connection is closed), more than
//! [`MAX_CONNECTIONS`] connections and [`MAX_KEPT`] kept descriptors.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use roam_api::codec::decode_body;
use roam_api::init::{Event, Reply, Request, State};
use roam_sys::{namespaces, spawn};

use super::children::Children;
use crate::pod::filters;
use crate::wire::{self, Partial};

const MAX_CONNECTIONS: usize = 16;
const MAX_KEPT: usize = 256;
/// A keeper that does not read for so long is dropped, so that nothing holds up the reaping.
const WRITE_TIME: Duration = Duration::from_secs(2);

struct Connection {
    socket: UnixStream,
    partial: Partial,
    watches: bool,
    /// Handles of the stubs that were started for it.
    stubs: Vec<OwnedFd>,
}

impl Drop for Connection {
    /// A keeper that died before it traced a stub can't end it any more, and the session would be held to have it.
    fn drop(&mut self) {
        for stub in &self.stubs {
            let _ = spawn::pidfd_signal(stub.as_fd(), libc::SIGKILL);
        }
    }
}

struct Init {
    children: Children,
    /// By a number that is never used again: others may go while one is being served.
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
    kept: BTreeMap<String, OwnedFd>,
    live: bool,
    held: bool,
    empty: bool,
}

/// Runs until the pod ends.
///
/// # Errors
/// Only what makes going on impossible.
pub fn run(listener: UnixListener, guard: UnixStream) -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    listener.set_nonblocking(true)?;
    let kept = filters::prepare()?.into_iter().map(|(name, fd)| (name.to_owned(), fd)).collect();
    let mut init = Init {
        children: Children::default(),
        connections: BTreeMap::new(),
        accepted: 0,
        kept,
        live: false,
        held: false,
        empty: false,
    };
    let mut guard = Some(guard);
    loop {
        if init.live {
            guard = None;
        }
        let ready = init.wait(&signals, &listener, guard.as_ref())?;
        if ready.guard_closed {
            return Ok(()); // the keeper that was making this pod is gone: so is the pod
        }
        if ready.signal {
            while let Ok(Some(_)) = signals.read_signal() {}
            init.reap();
        }
        if ready.listener {
            init.accept(&listener);
        }
        for number in ready.connections {
            match init.serve(number) {
                Ok(Flow::On) => {}
                Ok(Flow::End) => return Ok(()),
                Err(_) => {
                    init.connections.remove(&number);
                }
            }
        }
    }
}

enum Flow {
    On,
    End,
}

#[derive(Default)]
struct Ready {
    signal: bool,
    listener: bool,
    guard_closed: bool,
    connections: Vec<u64>,
}

impl Init {
    fn wait(
        &self,
        signals: &SignalFd,
        listener: &UnixListener,
        guard: Option<&UnixStream>,
    ) -> io::Result<Ready> {
        let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled: Vec<PollFd<'_>> = vec![input(signals.as_fd()), input(listener.as_fd())];
        polled.extend(self.connections.values().map(|c| input(c.socket.as_fd())));
        if let Some(guard) = guard {
            polled.push(PollFd::new(guard.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok(Ready::default()),
            other => other?,
        };
        let came = |at: usize| polled[at].revents().is_some_and(|events| !events.is_empty());
        let count = self.connections.len();
        Ok(Ready {
            signal: came(0),
            listener: came(1),
            guard_closed: guard.is_some() && came(2 + count),
            connections: self
                .connections
                .keys()
                .enumerate()
                .filter(|(i, _)| came(2 + i))
                .map(|(_, n)| *n)
                .collect(),
        })
    }

    fn reap(&mut self) {
        let mut events = Vec::new();
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Err(nix::errno::Errno::EINTR) => continue,
                _ => break,
            };
            events.extend(self.children.ended(pid.as_raw(), status));
        }
        let empty = self.children.only_helpers(&processes());
        if empty && !self.empty {
            events.push(Event::Empty);
        }
        self.empty = empty;
        for event in events {
            self.connections
                .retain(|_, c| !c.watches || wire::send(&c.socket, &Reply::Event(event), &[]).is_ok());
        }
    }

    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((socket, _)) = listener.accept() {
            let mine =
                namespaces::peer_uid(socket.as_fd()).is_ok_and(|uid| uid == nix::unistd::getuid().as_raw());
            let prepared = socket
                .set_nonblocking(false)
                .and_then(|()| socket.set_write_timeout(Some(WRITE_TIME)))
                .and_then(|()| socket.set_read_timeout(Some(WRITE_TIME)));
            if mine && prepared.is_ok() && self.connections.len() < MAX_CONNECTIONS {
                self.accepted += 1;
                let connection =
                    Connection { socket, partial: Partial::default(), watches: false, stubs: vec![] };
                self.connections.insert(self.accepted, connection);
            }
        }
    }

    /// Reads what came on this connection and answers a whole request.
    fn serve(&mut self, number: u64) -> io::Result<Flow> {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(Flow::On) };
        // Poll said that there is something, so one call does not block.
        let Some((body, descriptors)) = connection.partial.advance(connection.socket.as_fd())? else {
            return Ok(Flow::On);
        };
        let request = decode_body::<Request>(&body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let is_stub = request == Request::Stub;
        match request {
            Request::End => return Ok(Flow::End),
            Request::Watch => connection.watches = true,
            _ => {}
        }
        let (reply, with) = match self.answer(request, descriptors) {
            Ok(answer) => answer,
            Err((what, error)) => {
                (Reply::Failed { what: what.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }, None)
            }
        };
        if let (true, Some(stub), Some(connection)) = (is_stub, &with, self.connections.get_mut(&number)) {
            connection.stubs.retain(|stub| spawn::pidfd_signal(stub.as_fd(), 0).is_ok());
            connection.stubs.push(stub.try_clone()?);
        }
        let with: Vec<BorrowedFd<'_>> = with.iter().map(AsFd::as_fd).collect();
        match self.connections.get(&number) {
            Some(connection) => wire::send(&connection.socket, &reply, &with).map(|()| Flow::On),
            None => Ok(Flow::On),
        }
    }

    fn answer(
        &mut self,
        request: Request,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<(Reply, Option<OwnedFd>), (&'static str, io::Error)> {
        let mut one = || match descriptors.pop() {
            Some(fd) if descriptors.is_empty() => Ok(fd),
            _ => Err(("taking the descriptor", io::Error::from_raw_os_error(libc::EBADF))),
        };
        match request {
            Request::Hello => {
                let me = spawn::pidfd_open(nix::unistd::getpid()).map_err(|e| ("finding myself", e))?;
                Ok((Reply::State(self.state()), Some(me)))
            }
            Request::Start { role, argv, env, cwd, umask } => {
                let stdio = <[OwnedFd; 3]>::try_from(descriptors)
                    .map_err(|_| ("taking descriptors", io::Error::from_raw_os_error(libc::EBADF)))?;
                let program = spawn::Program { argv: &argv, env: &env, cwd: &cwd, umask, stdio };
                let pid = spawn::confined(program).map_err(|e| ("starting the program", e))?;
                self.children.add(pid.as_raw(), role);
                self.empty = false;
                started(pid)
            }
            Request::Track { pid, role, status } => {
                self.children.add(pid, role);
                if let Some(status) = status {
                    let _ = self.children.ended(pid, status);
                }
                Ok((Reply::Ok, None))
            }
            Request::Signal { pid, signal } => {
                // -1 is everything in the pod but its pid 1.
                let target = pid.filter(|pid| *pid > 1).unwrap_or(-1);
                kill(target, signal).map_err(|e| ("sending the signal", e))?;
                Ok((Reply::Ok, None))
            }
            Request::Keep { name } => {
                let fd = one()?;
                if self.kept.len() >= MAX_KEPT && !self.kept.contains_key(&name) {
                    return Err(("keeping a descriptor", io::Error::from_raw_os_error(libc::EMFILE)));
                }
                self.kept.insert(name, fd);
                Ok((Reply::Ok, None))
            }
            Request::Fetch { name } => {
                let kept = self.kept.get(&name).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT));
                let copy =
                    kept.and_then(OwnedFd::try_clone).map_err(|e| ("finding the kept descriptor", e))?;
                Ok((Reply::Descriptor, Some(copy)))
            }
            Request::Stub => {
                let image = one()?;
                let stub = out_of_the_way(|| spawn::privileged(image.as_fd()));
                started(stub.map_err(|e| ("starting the stub", e))?)
            }
            Request::SocketDiag => {
                let socket = namespaces::socket_diag().map_err(|e| ("opening socket diagnosis", e))?;
                Ok((Reply::Descriptor, Some(socket)))
            }
            Request::Live => {
                self.live = true;
                Ok((Reply::Ok, None))
            }
            Request::Hold => {
                kill(-1, libc::SIGSTOP).map_err(|e| ("holding the session", e))?;
                self.held = true;
                Ok((Reply::Ok, None))
            }
            Request::Release => {
                kill(-1, libc::SIGCONT).map_err(|e| ("releasing the session", e))?;
                self.held = false;
                Ok((Reply::Ok, None))
            }
            Request::Watch | Request::End => Ok((Reply::Ok, None)),
        }
    }

    fn state(&self) -> State {
        State {
            live: self.live,
            held: self.held,
            running: self.children.running(),
            main: self.children.main(),
            empty: self.empty,
            kept: self.kept.keys().cloned().collect(),
        }
    }
}

fn started(pid: Pid) -> Result<(Reply, Option<OwnedFd>), (&'static str, io::Error)> {
    let pidfd = spawn::pidfd_open(pid).map_err(|e| ("finding the program", e))?;
    Ok((Reply::Started { pid: pid.as_raw() }, Some(pidfd)))
}

/// Starts a process with a number that sessions hardly use, so that it is in nobody's way when the session's
/// own numbers are given out.
fn out_of_the_way(start: impl FnOnce() -> io::Result<Pid>) -> io::Result<Pid> {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    const HIGH: &str = "31000";
    let before = std::fs::read_to_string(LAST_PID)?;
    std::fs::write(LAST_PID, HIGH)?;
    let started = start();
    // The session's next new process follows its last one.
    std::fs::write(LAST_PID, before.trim())?;
    started
}

/// kill(2); nobody there to receive it is fine.
fn kill(pid: i32, signal: i32) -> io::Result<()> {
    let signal = match signal {
        0 => None,
        number => Some(Signal::try_from(number)?),
    };
    match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
        Err(nix::errno::Errno::ESRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Every process of the pod, zombies excluded, with its parent. One whose first thread alone has ended is none.
fn processes() -> HashMap<i32, i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may hold anything, so count from its closing bracket.
            let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            let others = || std::fs::read_dir(entry.path().join("task")).is_ok_and(|tasks| tasks.count() > 1);
            (state != "Z" || others()).then_some((pid, parent))
        })
        .collect()
}
