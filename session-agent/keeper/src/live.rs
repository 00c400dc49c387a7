//! A session that has a pod here: its output, its processes, its end.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::fstat;
use roam_api::init::{Event, Reply, Request, Role};
use roam_api::keeper::Identity;
use roam_api::session::SessionSpec;
use roam_checkpoint::pod::{ExternalName, Externals};
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, watch};

use crate::journal::Facts;
use crate::log::OutputLog;
use crate::pod::filters::Recorder;
use crate::pod::handle::Pod;

/// The session's output streams, as they are called in roam-init's store and in checkpoints.
pub const STREAMS: [(&str, u8); 2] = [("stdout", 1), ("stderr", 2)];

/// A session with a pod.
pub struct Live {
    identity: Identity,
    /// What was started.
    pub spec: SessionSpec,
    /// What its next keeper must know.
    pub facts: Facts,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Device and inode of each output pipe.
    pipes: HashMap<(u64, u64), ExternalName>,
    /// Duplicates of their reading ends.
    readers: Vec<OwnedFd>,
    /// What happens in the pod.
    pub events: broadcast::Sender<Event>,
    /// The session's status once nothing but helpers is left.
    pub ended: watch::Sender<Option<i32>>,
    generation: AtomicU64,
    /// Commands of `roam exec` that run.
    pub execs: watch::Sender<usize>,
    /// How many output streams are still being read.
    reading: watch::Sender<usize>,
    /// Records the filters that programs install.
    _filters: Option<Recorder>,
    /// Their readers; they end with this.
    _tasks: tokio::task::JoinSet<()>,
}

/// The pod's halves of new output pipes, for programs; the reading halves are kept in roam-init.
pub struct Output {
    readers: Vec<OwnedFd>,
    /// Standard output and error for the session's program.
    pub writers: Vec<OwnedFd>,
}

impl Output {
    /// Lets go of the pod's halves: they are in the pod now.
    #[must_use]
    pub fn readers_only(self) -> Self {
        Self { readers: self.readers, writers: Vec::new() }
    }

    /// Makes the pipes and has roam-init keep the reading ends, so that nobody gets EPIPE when the
    /// keeper dies.
    ///
    /// # Errors
    /// The kernel's or roam-init's.
    pub fn make(pod: &Pod) -> io::Result<Self> {
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for (name, _) in STREAMS {
            let (reader, writer) = io::pipe()?;
            pod.client().ok(&Request::Keep { name: name.into() }, &[reader.as_fd()])?;
            readers.push(reader.into());
            writers.push(writer.into());
        }
        Ok(Self { readers, writers })
    }

    /// Gets the reading ends back from roam-init, for a new keeper.
    ///
    /// # Errors
    /// roam-init's.
    pub fn fetch(pod: &Pod) -> io::Result<Self> {
        let readers = STREAMS
            .iter()
            .map(|(name, _)| pod.client().descriptor(&Request::Fetch { name: (*name).into() }))
            .collect::<io::Result<_>>()?;
        Ok(Self { readers, writers: Vec::new() })
    }
}

fn identity_of(file: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let found = fstat(file)?;
    Ok((found.st_dev, found.st_ino))
}

impl Live {
    /// Takes charge of a pod: reads its output into the log and hears of its events.
    ///
    /// # Errors
    /// The kernel's or roam-init's.
    pub fn take_charge(
        identity: Identity,
        spec: SessionSpec,
        facts: Facts,
        pod: Pod,
        output: Output,
        log: &Arc<OutputLog>,
    ) -> io::Result<Arc<Self>> {
        let mut pipes = HashMap::new();
        let readers = output.readers.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>()?;
        let mut tasks = tokio::task::JoinSet::new();
        let reading = watch::channel(output.readers.len()).0;
        for ((name, stream), reader) in STREAMS.into_iter().zip(output.readers) {
            pipes.insert(identity_of(reader.as_fd())?, ExternalName(name.into()));
            let reader = pipe::Receiver::from_owned_fd(reader)?;
            let (log, reading) = (log.clone(), reading.clone());
            tasks.spawn(async move {
                read_output(reader, stream, log).await;
                reading.send_modify(|count| *count -= 1);
            });
        }
        let filters = pod.record_filters()?;
        let watching = pod.connect()?.watch()?;
        let (events, _) = broadcast::channel(256);
        let ended = watch::channel(None).0;
        let pod = Arc::new(pod);
        let live = Arc::new(Self {
            generation: identity.generation.into(),
            identity,
            spec,
            facts,
            pod,
            pipes,
            readers,
            events,
            ended,
            execs: watch::channel(0).0,
            reading,
            _filters: filters,
            _tasks: tasks,
        });
        let weak = Arc::downgrade(&live);
        watching.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(watching)?;
        tokio::spawn(async move {
            while let Ok(Some(reply)) = roam_link::frames::read::<Reply>(&mut stream).await {
                let Some(live) = weak.upgrade() else { return };
                if let Reply::Event(event) = reply {
                    live.heard(event);
                }
            }
            // roam-init is gone, and with it every process.
            if let Some(live) = weak.upgrade() {
                live.ended.send_if_modified(|status| {
                    status.is_none() && {
                        *status = Some(128 + 9);
                        true
                    }
                });
            }
        });
        live.look()?;
        Ok(live)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { generation: self.generation(), ..self.identity.clone() }
    }

    /// Its generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// It went to another machine and is taken back: others may have heard already that it has the generation there. It
    /// gets, and this returns, a higher one.
    pub fn take_back(&self) -> u64 {
        self.generation.fetch_add(2, Ordering::Relaxed) + 2
    }

    /// What happened before anybody listened.
    fn look(&self) -> io::Result<()> {
        let state = self.pod.client().state()?;
        if state.empty {
            let status = state.main.and_then(|(_, status)| status).unwrap_or(0);
            self.ended.send_if_modified(|now| {
                now.is_none() && {
                    *now = Some(status);
                    true
                }
            });
        }
        Ok(())
    }

    fn heard(&self, event: Event) {
        let _ = self.events.send(event);
        if event == Event::Empty {
            let _ = self.look();
        }
    }

    /// Number of processes and their memory, as [`memory_of`] says.
    #[must_use]
    pub fn size(&self) -> (u32, u64) {
        memory_of(&*self.pod)
    }

    /// Waits until nothing but helpers is left.
    pub async fn wait_ended(&self) -> i32 {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(status) = *ended.borrow_and_update() {
                return status;
            }
            if ended.changed().await.is_err() {
                return 128 + 9;
            }
        }
    }

    /// SIGTERM to everything, SIGKILL with the pod after `patience`.
    pub async fn stop(&self, patience: Duration) {
        let signal = Request::Signal { pid: None, signal: libc::SIGTERM };
        // A stopped program gets SIGTERM only once it goes on.
        let go_on = Request::Signal { pid: None, signal: libc::SIGCONT };
        if self.pod.client().ok(&signal, &[]).and_then(|()| self.pod.client().ok(&go_on, &[])).is_ok() {
            let _ = tokio::time::timeout(patience, self.wait_ended()).await;
        }
    }

    /// Everything printed so far, while the session is frozen: waits until the pipes are empty.
    ///
    /// # Errors
    /// The log's.
    pub fn settled_log(&self, log: &OutputLog) -> io::Result<Vec<u8>> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut look: Vec<_> =
            self.readers.iter().map(|r| PollFd::new(r.as_fd(), PollFlags::POLLIN)).collect();
        let mut empty = || {
            let ready = poll(&mut look, PollTimeout::ZERO).unwrap_or(0);
            ready == 0 || look.iter().all(|fd| !fd.revents().is_some_and(|e| e.contains(PollFlags::POLLIN)))
        };
        // The readers are awake: there is at most a pipe's worth to be read.
        while !log.still(&mut empty) {
            std::thread::yield_now();
        }
        log.contents()
    }

    /// The output pipes, for the engine.
    #[must_use]
    pub fn externals(&self) -> PodExternals {
        PodExternals { pipes: self.pipes.clone(), provided: HashMap::new() }
    }

    /// Starts a command in the pod with these standard descriptors; returns its pid inside and its pidfd.
    ///
    /// # Errors
    /// What kept it from being execed.
    pub fn exec(&self, argv: Vec<Vec<u8>>, stdio: &[BorrowedFd<'_>; 3]) -> io::Result<(i32, OwnedFd)> {
        let request = Request::Start {
            role: Role::Exec,
            argv,
            env: self.facts.env.clone(),
            cwd: self.spec.cwd.clone(),
            umask: self.spec.umask,
        };
        self.pod.client().start(&request, stdio)
    }

    /// Counts a command that runs, until the guard is dropped.
    #[must_use]
    pub fn count_exec(self: &Arc<Self>) -> ExecCount {
        self.execs.send_modify(|count| *count += 1);
        ExecCount(self.clone())
    }

    /// Waits until all output has been read: its writers are gone.
    pub async fn drained(&self) {
        let _ = self.reading.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A running command of `roam exec`.
pub struct ExecCount(Arc<Live>);

impl Drop for ExecCount {
    fn drop(&mut self) {
        self.0.execs.send_modify(|count| *count -= 1);
    }
}

async fn read_output(reader: pipe::Receiver, stream: u8, log: Arc<OutputLog>) {
    let mut buffer = vec![0; 16 << 10];
    while reader.readable().await.is_ok() {
        let read = || reader.try_read(&mut buffer).map(|n| buffer[..n].to_vec());
        match log.append_read(stream, read) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The session's output pipes as the engine asks for them.
pub struct PodExternals {
    pipes: HashMap<(u64, u64), ExternalName>,
    provided: HashMap<ExternalName, OwnedFd>,
}

impl PodExternals {
    /// For a restore: the pod's halves of new pipes.
    ///
    /// # Errors
    /// If a descriptor can't be duplicated.
    pub fn to_provide(output: &Output) -> io::Result<Self> {
        let mut provided = HashMap::new();
        for ((name, _), writer) in STREAMS.iter().zip(&output.writers) {
            provided.insert(ExternalName((*name).into()), writer.try_clone()?);
        }
        Ok(Self { pipes: HashMap::new(), provided })
    }
}

/// The external that stands for a display's connection to the session's X server.
const DISPLAY: &str = "display";

impl Externals for PodExternals {
    fn identify(&self, file: BorrowedFd<'_>) -> Option<ExternalName> {
        if let Some(name) = self.pipes.get(&identity_of(file).ok()?) {
            return Some(name.clone());
        }
        // What this keeper connected to from outside is a viewer's way into the session's X server.
        let peer = getsockopt(&file, sockopt::PeerCredentials).ok()?;
        (peer.pid() == std::process::id() as i32).then(|| ExternalName(DISPLAY.to_owned()))
    }

    fn provide(&mut self, name: &ExternalName) -> io::Result<OwnedFd> {
        if name.0 == DISPLAY {
            // A display keeps nothing and attaches anew: to the X server its old connection has ended.
            return std::os::unix::net::UnixStream::pair().map(|(ours, _)| ours.into());
        }
        match self.provided.get(name) {
            Some(fd) => fd.try_clone(),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no external {}", name.0))),
        }
    }
}

/// Number of processes, and what they have in memory that is no file's, in bytes: at least what a move
/// carries. Memory that processes share counts for each of them.
#[must_use]
pub fn memory_of(pod: &dyn roam_checkpoint::pod::Pod) -> (u32, u64) {
    let processes = processes_of(pod);
    let kib: u64 = processes.iter().map(|(_, status)| own_kib(status, ["RssAnon:", "RssShmem:"])).sum();
    (processes.len() as u32, kib << 10)
}

/// The same memory in bytes, but what processes share counts once. Each page is looked at.
#[must_use]
pub fn memory_in_use(pod: &dyn roam_checkpoint::pod::Pod) -> u64 {
    let of = |(folder, status): &(PathBuf, String)| match std::fs::read_to_string(folder.join("smaps_rollup"))
    {
        Ok(rollup) => own_kib(&rollup, ["Pss_Anon:", "Pss_Shmem:"]),
        Err(_) => own_kib(status, ["RssAnon:", "RssShmem:"]),
    };
    processes_of(pod).iter().map(of).sum::<u64>() << 10
}

/// Folders in /proc and status of a pod's processes.
fn processes_of(pod: &dyn roam_checkpoint::pod::Pod) -> Vec<(PathBuf, String)> {
    let Ok(entries) = std::fs::read_dir(pod.root().join("proc")) else { return Vec::new() };
    let is_process = |name: &str| name != "1" && name.parse::<u32>().is_ok();
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_process))
        .filter_map(|entry| Some((entry.path(), std::fs::read_to_string(entry.path().join("status")).ok()?)))
        .collect()
}

/// A unix stream of std as one of tokio.
///
/// # Errors
/// The kernel's.
pub fn to_tokio(stream: StdUnixStream) -> io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}
/// The sum of these fields of a process's status or smaps_rollup (proc(5)), in KiB.
fn own_kib(text: &str, fields: [&str; 2]) -> u64 {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    fields.into_iter().filter_map(field).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_without_files() {
        let status = "Name:\tpad\nRssAnon:\t    1200 kB\nRssFile:\t 9000 kB\nRssShmem:\t       8 kB\n";
        assert_eq!(own_kib(status, ["RssAnon:", "RssShmem:"]), 1208);
        assert_eq!(own_kib("Name:\tkernel thread\n", ["RssAnon:", "RssShmem:"]), 0);
    }
}
