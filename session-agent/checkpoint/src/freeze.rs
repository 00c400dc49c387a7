//! Stopping a whole session, and letting it go on as if nothing had been.
//!
//! A thread in an uninterruptible wait stops only when that is over: it waits for a disk, for its memory
//! map that another thread changes, or for its vfork child, which may be stopped already. So an attempt is
//! given up early, everything is let go, and the next one is more patient ([`ATTEMPTS`]).
//!
//! Refuses: a session with a thread that stays in one such wait for [`PATIENCE`], or that no attempt
//! stopped; everything runs again then.

use std::time::{Duration, Instant};

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::limits::Raised;
use roam_sys::procfs::{self, stat, status};
use roam_sys::ptrace::{Stop, Tracee, await_any};

use crate::error::Error;
use crate::kinds::dumpable;
use crate::kinds::filters::{Book, Turn};
use crate::kinds::helper::Helper;
use crate::kinds::locks::Place;
use crate::kinds::memory::{AreasOf, ObjectViews};
use crate::kinds::syscalls::{self, Resume, Waits};
use crate::kinds::threads::read_timespec;
use crate::kinds::tree::Node;
use crate::objects::Objects;
use crate::pod::Pod;
use crate::stopping::{Stopper, list, wait_until_stoppable};

/// How long a thread may stay in one uninterruptible wait before its session is refused.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long all threads together may take to stop, attempt by attempt.
pub const ATTEMPTS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), PATIENCE];

/// A stopped thread.
#[derive(Debug)]
pub struct FrozenThread {
    /// To trace it with.
    pub tracee: Tracee,
    /// Its id in the pod.
    pub tid: i32,
    /// The signal of the group stop it is in (SIGSTOP, SIGTSTP…), if it is.
    pub stopped_by: Option<i32>,
}

/// A stopped process, or a zombie.
#[derive(Debug)]
pub struct FrozenProcess {
    /// As the keeper sees it.
    pub host: i32,
    /// Its place in the tree, as the pod sees it.
    pub node: Node,
    /// Its name.
    pub name: String,
    /// /proc/PID/stat at the freeze.
    pub stat: stat::Stat,
    /// /proc/PID/status at the freeze.
    pub status: status::Status,
    /// Its threads, the leader first; none for a zombie.
    pub threads: Vec<FrozenThread>,
    /// PR_GET_DUMPABLE as it was, if the process kept its memory to itself; while it is frozen it does not.
    pub dumpable: Option<i32>,
}

/// A frozen session. Dropping it lets everything go on.
#[derive(Debug)]
pub struct Frozen {
    /// The processes, parents before children.
    pub processes: Vec<FrozenProcess>,
    /// How long each thread had been waiting in its system call.
    pub(crate) waits: Waits,
    /// When the first thread was stopped.
    pub since: Instant,
    pub(crate) objects: Objects,
    pub(crate) views: ObjectViews,
    pub(crate) areas: AreasOf,
    /// The file locks that it had when it was captured.
    pub(crate) locks: Vec<Place>,
    /// Through which some of the views go.
    pub(crate) helper: Option<Helper>,
    /// Filters that are being installed wait meanwhile.
    _turn: Option<Turn>,
    released: bool,
    _room: Raised,
}

/// Room for duplicates of all that a session holds open, which is more than the 1024 descriptors that a
/// desktop gives a program unasked.
pub(crate) fn room() -> Raised {
    Raised::take(std::process::id().cast_signed(), &[libc::RLIMIT_NOFILE])
}

/// Stops every thread of the session.
///
/// # Errors
/// [`Error::Refused`] if one does not stop; all run again then.
pub fn freeze(pod: &dyn Pod) -> Result<Frozen, Error> {
    let mut attempts = ATTEMPTS.into_iter().peekable();
    loop {
        let patience = attempts.next().unwrap_or(PATIENCE);
        let waits = syscalls::observe(&list(pod).map_err(|e| Error::system("listing the processes", e))?);
        wait_until_stoppable(pod)?;
        let turn = pod.filters().map(Book::turn);
        let since = Instant::now();
        let mut stopper = Stopper::new(since + patience);
        match stopper.stop_all(pod).and_then(|()| stopper.describe()) {
            Ok(processes) => {
                let (objects, views, areas) =
                    (Objects::default(), ObjectViews::default(), AreasOf::default());
                let (locks, helper) = (Vec::new(), None);
                let mut frozen = Frozen {
                    processes,
                    waits,
                    since,
                    objects,
                    views,
                    areas,
                    locks,
                    helper,
                    _turn: turn,
                    released: false,
                    _room: room(),
                };
                // An error lets everything go on.
                frozen.processes.iter_mut().try_for_each(dumpable::open)?;
                return Ok(frozen);
            }
            Err(error) => {
                stopper.let_go(&waits, since);
                if !stopper.late || attempts.peek().is_none() {
                    return Err(error);
                }
            }
        }
    }
}

pub(crate) fn refuse(host: i32, reason: &str, remedy: &str) -> Error {
    let name = stat::read(host).map(|s| String::from_utf8_lossy(&s.comm).into_owned()).unwrap_or_default();
    let pid = status::read(host).ok().and_then(|s| s.ns_pid.get(1).copied()).unwrap_or(host);
    Error::Refused(vec![Refusal {
        process: name,
        pid: pid as u32,
        what: "the process itself".to_owned(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }])
}

/// Waits until killed processes that this thread traces are gone. A leader's end is told only after that of all
/// other threads, and the last thread of the first process of a pid namespace ends when all else in it has been taken
/// note of, its own other threads too; so whoever has ended is taken, in whatever order.
pub(crate) fn await_ends(hosts: impl IntoIterator<Item = i32>) {
    let of = |host: i32| {
        let others = procfs::threads(host).unwrap_or_default().into_iter().filter(move |tid| *tid != host);
        others.chain([host])
    };
    let mut left: Vec<Tracee> = hosts.into_iter().flat_map(of).map(Tracee::auto_attached).collect();
    loop {
        left.retain(|tracee| !matches!(tracee.try_wait(), Ok(Some(Stop::Ended(_))) | Err(_)));
        if left.is_empty() || await_any().is_err() {
            return;
        }
    }
}

impl Frozen {
    /// The processes that live, zombies left out.
    pub fn living(&self) -> impl Iterator<Item = &FrozenProcess> {
        self.processes.iter().filter(|p| p.node.ended.is_none())
    }

    /// Lets every thread go on where it was. System calls that the stop interrupted go on as well,
    /// those included that the kernel would end with EINTR.
    pub fn thaw(mut self) {
        self.release();
    }

    /// Ends every process without letting it run another instruction.
    pub fn kill(mut self) {
        self.released = true;
        self.helper = None;
        for process in self.living() {
            // SIGKILL needs no detach, and reaches stopped tracees.
            let _ = nix::sys::signal::kill(Pid::from_raw(process.host), nix::sys::signal::Signal::SIGKILL);
        }
        await_ends(self.processes.iter().map(|process| process.host));
    }

    fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        self.helper = None;
        for process in &self.processes {
            dumpable::close(process);
            for thread in &process.threads {
                resume_call(thread.tracee, &self.waits, self.since);
                let _ = thread.tracee.detach(0);
            }
        }
    }
}

/// Has an interrupted call of a stopped thread, since when stopped, go on with what remains of its time. The kernel
/// could do so by itself (restart_syscall), but then the next freeze could no longer tell which call it was.
pub(crate) fn resume_call(tracee: Tracee, waits: &Waits, since: Instant) {
    let tid = tracee.tid();
    let Ok(mut registers) = tracee.registers() else { return };
    if !syscalls::needs_help(&registers) {
        return;
    }
    let Ok(now) = status::read(tid) else { return };
    if waits.is_empty() {
        // This kernel does not say since when threads wait: its own restart is exact.
        if syscalls::undo_spurious_eintr(&mut registers) {
            let _ = tracee.set_registers(&registers);
        }
        return;
    }
    // One that ran since it was observed has only just begun to wait.
    let waited = waits.waited(tid, now.voluntary_switches).unwrap_or(0);
    let waited = waited + since.elapsed().as_nanos() as i64;
    let resume = syscalls::prepare(&mut registers, waited, |at| read_timespec(tid, at));
    if let Resume::WithTimespec { address, timespec } = resume {
        let mut bytes = timespec[0].to_le_bytes().to_vec();
        bytes.extend_from_slice(&timespec[1].to_le_bytes());
        if roam_sys::memory::write(tid, address, &bytes).is_err() {
            return; // the kernel restarts it, then
        }
    }
    let _ = tracee.set_registers(&registers);
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.release();
    }
}
