//! A pod as its keeper and the engine hold it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use roam_api::init::{Created, PodSpec, Request};

use roam_checkpoint::kinds::filters::Book;

use super::client::{InitClient, host_pid};
use super::filters::{BOOK, LISTENER, Recorder};
use crate::wire;

/// How long making a pod may take, also on a busy machine.
const CREATE_TIME: Duration = Duration::from_secs(30);

/// A pod that exists.
pub struct Pod {
    init: Pid,
    pidfd: OwnedFd,
    socket: PathBuf,
    client: InitClient,
    diag: OwnedFd,
    /// Where to hear of filters that programs install, and what was recorded of them.
    filters: Option<(OwnedFd, Arc<Book>)>,
    guard: Option<UnixStream>,
}

impl Pod {
    /// Makes a pod with `roam-init`, whose socket will be `DIR/init.sock`. Until [`Pod::live`] it ends
    /// with this value.
    ///
    /// # Errors
    /// What did not work and why; nothing is left then.
    pub fn create(init_program: &Path, dir: &Path, spec: &PodSpec) -> io::Result<Self> {
        let socket = dir.join("init.sock");
        remove_stale(&socket)?;
        let listener = UnixListener::bind(&socket)?;
        set_private(&socket)?;
        let (here, there) = UnixStream::pair()?;
        here.set_read_timeout(Some(CREATE_TIME))?;
        let mut creator = Command::new(init_program)
            .arg("create")
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("starting {}: {e}", init_program.display())))?;
        let outcome = wire::send(&here, spec, &[listener.as_fd()])
            .and_then(|()| wire::receive::<Created>(&here).map(|(created, _)| created));
        if outcome.is_err() {
            let _ = creator.kill(); // the half-made pod ends with its guard socket
        }
        let _ = creator.wait();
        match outcome? {
            Created::Pod { .. } => Self::open(&socket, Some(here)),
            Created::Failed { reason } => {
                let _ = std::fs::remove_file(&socket);
                Err(io::Error::other(format!("the session's pod could not be made: {reason}")))
            }
        }
    }

    /// The pod of this folder, whose keeper died: its roam-init is found through its socket. None if nobody
    /// listens there any more, or whoever did ended over the question, or is about to: one that was not made live holds
    /// no session.
    ///
    /// # Errors
    /// If a pod may be there, but can't be asked just now.
    pub fn find(dir: &Path) -> io::Result<Option<Self>> {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        let found = Self::open(&dir.join("init.sock"), None).and_then(|pod| {
            let live = pod.client.state()?.live;
            Ok(live.then_some(pod))
        });
        match found {
            Ok(pod) => Ok(pod),
            Err(e) => match e.kind() {
                NotFound | ConnectionRefused | ConnectionReset | BrokenPipe | UnexpectedEof => Ok(None),
                _ => Err(e),
            },
        }
    }

    fn open(socket: &Path, guard: Option<UnixStream>) -> io::Result<Self> {
        let client = InitClient::connect(socket)?;
        let pidfd = client.pidfd()?;
        let init = host_pid(&pidfd)?;
        let diag = client.descriptor(&Request::SocketDiag)?;
        let kept = |name: &str| client.descriptor(&Request::Fetch { name: name.into() });
        let filters = match (kept(LISTENER), kept(BOOK)) {
            (Ok(listener), Ok(book)) => Some((listener, Arc::new(Book::open(book)?))),
            // Something else listens already, or a roam-init from before there was a book.
            _ => None,
        };
        if let Some((_, book)) = &filters {
            roam_sys::pass::set(book.pass());
        }
        Ok(Self { init, pidfd, socket: socket.into(), client, diag, filters, guard })
    }

    /// From now on the pod outlives its keeper.
    ///
    /// # Errors
    /// If roam-init does not answer.
    pub fn live(&mut self) -> io::Result<()> {
        self.client.ok(&Request::Live, &[])?;
        self.guard = None;
        Ok(())
    }

    /// roam-init, for requests.
    #[must_use]
    pub fn client(&self) -> &InitClient {
        &self.client
    }

    /// The pod's own /dev/null: descriptors of it belong to the session's file tree.
    ///
    /// # Errors
    /// The file's.
    pub fn null(&self) -> io::Result<std::fs::File> {
        let path = roam_checkpoint::pod::Pod::root(self).join("dev/null");
        std::fs::File::options().read(true).write(true).open(path)
    }

    /// Begins to record the filters that programs install; none where they can't be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn record_filters(&self) -> io::Result<Option<Recorder>> {
        let Some((listener, book)) = &self.filters else { return Ok(None) };
        Recorder::start(listener.try_clone()?, book.clone()).map(Some)
    }

    /// A further connection to roam-init.
    ///
    /// # Errors
    /// The socket's.
    pub fn connect(&self) -> io::Result<InitClient> {
        InitClient::connect(&self.socket)
    }

    /// Readable once roam-init has ended, and with it the pod.
    #[must_use]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends everything in the pod and waits until it is gone.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(&self) -> io::Result<()> {
        kill(&self.pidfd)?;
        let mut wait = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut wait, PollTimeout::try_from(CREATE_TIME).unwrap_or(PollTimeout::MAX))?;
        let _ = std::fs::remove_file(&self.socket);
        if ready == 0 { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(()) }
    }
}

impl Drop for Pod {
    /// A pod that was not made live ends with its value, and is gone then.
    fn drop(&mut self) {
        if self.guard.is_some()
            && let Err(error) = self.end()
        {
            tracing::error!(%error, "a pod did not end");
        }
    }
}

fn kill(pidfd: &OwnedFd) -> io::Result<()> {
    match roam_sys::spawn::pidfd_signal(pidfd.as_fd(), libc::SIGKILL) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other,
    }
}

impl roam_checkpoint::pod::Pod for Pod {
    fn init(&self) -> Pid {
        self.init
    }

    fn spawn_stub(&self) -> io::Result<Pid> {
        let image = roam_sys::spawn::memory_file(c"roam-stub", &roam_sys::stub::elf_image())?;
        let (_, pidfd) = self.client.start(&Request::Stub, &[image.as_fd()])?;
        host_pid(&pidfd)
    }

    fn socket_diag(&self) -> BorrowedFd<'_> {
        self.diag.as_fd()
    }

    fn filters(&self) -> Option<&Arc<Book>> {
        self.filters.as_ref().map(|(_, book)| book)
    }
}

fn set_private(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
}

/// Removes a socket that nobody listens on any more.
///
/// # Errors
/// AddrInUse if somebody does.
pub fn remove_stale(socket: &Path) -> io::Result<()> {
    if !socket.exists() {
        return Ok(());
    }
    if UnixStream::connect(socket).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{} is in use by another process", socket.display()),
        ));
    }
    std::fs::remove_file(socket)
}
