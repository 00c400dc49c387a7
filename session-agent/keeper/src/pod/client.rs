//! Speaking to a pod's roam-init, one request at a time.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::Pid;
use roam_api::init::{Reply, Request, State};

use crate::wire;

/// How long roam-init may take for one answer. It does nothing that waits.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A connection to a roam-init.
pub struct InitClient {
    /// Locked for one question and its answer.
    socket: Mutex<UnixStream>,
}

impl InitClient {
    /// Connects.
    ///
    /// # Errors
    /// The socket's; ECONNREFUSED means that the pod is gone.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(ANSWER_TIME))?;
        socket.set_write_timeout(Some(ANSWER_TIME))?;
        Ok(Self { socket: Mutex::new(socket) })
    }

    /// Asks and returns the answer with its descriptors. [`Reply::Failed`] becomes an error.
    ///
    /// # Errors
    /// The socket's, or what roam-init answered.
    pub fn call(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&*socket, request, descriptors)?;
        let (reply, came) = wire::receive(&*socket)?;
        drop(socket);
        match reply {
            Reply::Failed { what, errno } => {
                let reason = io::Error::from_raw_os_error(errno);
                Err(io::Error::new(reason.kind(), format!("{what}: {reason}")))
            }
            reply => Ok((reply, came)),
        }
    }

    /// Asks for something that is answered by Ok.
    ///
    /// # Errors
    /// The socket's, or what roam-init answered.
    pub fn ok(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.call(request, descriptors)?.0 {
            Reply::Ok => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something that is answered by one descriptor.
    ///
    /// # Errors
    /// The socket's, or what roam-init answered.
    pub fn descriptor(&self, request: &Request) -> io::Result<OwnedFd> {
        match self.call(request, &[])? {
            (Reply::Descriptor, mut came) if came.len() == 1 => Ok(came.remove(0)),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Starts something; returns its pid inside and its pidfd.
    ///
    /// # Errors
    /// The socket's, or what roam-init answered.
    pub fn start(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(i32, OwnedFd)> {
        match self.call(request, descriptors)? {
            (Reply::Started { pid }, mut came) if came.len() == 1 => Ok((pid, came.remove(0))),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// How things stand.
    ///
    /// # Errors
    /// The socket's.
    pub fn state(&self) -> io::Result<State> {
        match self.call(&Request::Hello, &[])?.0 {
            Reply::State(state) => Ok(state),
            other => Err(unexpected(&other)),
        }
    }

    /// roam-init's own pidfd. (SO_PEERCRED would name the keeper that made the socket.)
    ///
    /// # Errors
    /// The socket's.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        match self.call(&Request::Hello, &[])? {
            (Reply::State(_), mut came) if came.len() == 1 => Ok(came.remove(0)),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Turns the connection into one that brings events.
    ///
    /// # Errors
    /// The socket's.
    pub fn watch(self) -> io::Result<UnixStream> {
        self.ok(&Request::Watch, &[])?;
        let socket = self.socket.into_inner().unwrap_or_else(PoisonError::into_inner);
        socket.set_read_timeout(None)?;
        Ok(socket)
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("roam-init gave an unexpected answer: {reply:?}"))
}

/// The pid of a pidfd's process, as this process sees it.
///
/// # Errors
/// ESRCH if it has ended.
pub fn host_pid(pidfd: &OwnedFd) -> io::Result<Pid> {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .map(Pid::from_raw)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}
