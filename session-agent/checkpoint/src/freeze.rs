//! Stopping a whole session, and letting it go on as if nothing had been.
//!
//! Every thread of the pod (but roam-init's) is seized and interrupted; the tree is walked again and
//! again until a pass finds nothing new, since a thread that still runs may fork. Children of
//! seized threads are attached by the kernel itself, so that none slips through.
//!
//! Refuses: a session with a process that does not stop within [`PATIENCE`] (it waits for a file system
//! or a vfork child); everything is let go again then.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::procfs::{self, stat, status};
use roam_sys::ptrace::{FOLLOW, Stop, Tracee};

use crate::error::Error;
use crate::kinds::dumpable;
use crate::kinds::helper::Helper;
use crate::kinds::locks::Place;
use crate::kinds::memory::ObjectViews;
use crate::kinds::syscalls::{self, Resume, Waits};
use crate::kinds::threads::read_timespec;
use crate::kinds::tree::Node;
use crate::objects::Objects;
use crate::pod::Pod;

/// How long a thread may take to stop.
pub const PATIENCE: Duration = Duration::from_secs(2);

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
    /// The file locks that it had when it was captured.
    pub(crate) locks: Vec<Place>,
    /// Through which some of the views go.
    pub(crate) helper: Option<Helper>,
    released: bool,
}

/// The processes of the pod that are carried, as the keeper sees them, parents before children.
///
/// # Errors
/// If /proc can't be read.
pub fn list(pod: &dyn Pod) -> io::Result<Vec<i32>> {
    let skip: HashSet<i32> = pod.not_carried().into_iter().map(Pid::as_raw).collect();
    let mut found = Vec::new();
    let mut queue = vec![pod.init().as_raw()];
    let mut seen: HashSet<i32> = queue.iter().copied().collect();
    while let Some(pid) = queue.pop() {
        let threads = match procfs::threads(pid) {
            Ok(threads) => threads,
            Err(error) if pid == pod.init().as_raw() => return Err(error),
            Err(_) => continue, // ended meanwhile
        };
        for tid in threads {
            for child in procfs::children(pid, tid).unwrap_or_default() {
                if !skip.contains(&child) && seen.insert(child) {
                    found.push(child);
                    queue.push(child);
                }
            }
        }
    }
    Ok(found)
}

/// Stops every thread of the session.
///
/// # Errors
/// [`Error::Refused`] if one does not stop; all run again then.
pub fn freeze(pod: &dyn Pod) -> Result<Frozen, Error> {
    let waits = syscalls::observe(&list(pod).map_err(|e| Error::system("listing the processes", e))?);
    wait_until_stoppable(pod)?;
    let mut stopper = Stopper::default();
    let since = Instant::now();
    match stopper.stop_all(pod).and_then(|()| stopper.describe()) {
        Ok(processes) => {
            let (objects, views) = (Objects::default(), ObjectViews::default());
            let (locks, helper) = (Vec::new(), None);
            let mut frozen =
                Frozen { processes, waits, since, objects, views, locks, helper, released: false };
            // An error lets everything go on.
            frozen.processes.iter_mut().try_for_each(dumpable::open)?;
            Ok(frozen)
        }
        Err(error) => {
            stopper.let_go();
            Err(error)
        }
    }
}

/// A thread that waits for a disk or a vfork child can't be stopped, and one that is being interrupted all
/// the same would stop for nobody's benefit once it wakes. So such are waited for before any is touched.
fn wait_until_stoppable(pod: &dyn Pod) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut deep = None;
        for pid in list(pod).map_err(|e| Error::system("listing the processes", e))? {
            for tid in procfs::threads(pid).unwrap_or_default() {
                if stat::read_thread(pid, tid).is_ok_and(|s| s.state == b'D') {
                    deep = Some(pid);
                }
            }
        }
        let Some(pid) = deep else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(refuse(pid, DOES_NOT_STOP, "Try again in a moment."));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

const DOES_NOT_STOP: &str =
    "it does not stop: it waits for a disk, a network file system or a program being started";

#[derive(Default)]
struct Stopper {
    /// By host tid: its process and, once stopped, how.
    threads: HashMap<i32, (i32, Tracee, Option<Stop>)>,
    order: Vec<i32>,
    zombies: HashSet<i32>,
    /// Something that was listed was gone when it was reached. What it started may have come in where the
    /// pass had looked already.
    unsettled: bool,
}

impl Stopper {
    fn stop_all(&mut self, pod: &dyn Pod) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut fresh = Vec::new();
            self.unsettled = false;
            for pid in list(pod).map_err(|e| Error::system("listing the processes", e))? {
                self.seize_process(pid, &mut fresh)?;
            }
            let settled = fresh.is_empty() && !self.unsettled;
            // Commands beside the session come and go as they like; they are not waited for for ever.
            if settled && (self.has_all(pod) || Instant::now() > deadline) {
                return Ok(());
            }
            for tid in fresh {
                self.await_stop(tid)?;
            }
        }
    }

    /// Whether every process of the pod is one of those that were found. One that forks and ends all the
    /// time is always somewhere else in the tree, but new processes get ever higher numbers and the
    /// pod's /proc lists them in that order, so that none is missed there.
    fn has_all(&self, pod: &dyn Pod) -> bool {
        let Ok(entries) = std::fs::read_dir(pod.root().join("proc")) else { return true };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut others: Vec<i32> = pod.not_carried().into_iter().map(Pid::as_raw).collect();
        let mut at = 0;
        while let Some(&pid) = others.get(at) {
            let below = procfs::threads(pid).unwrap_or_default().into_iter();
            others.extend(below.flat_map(|tid| procfs::children(pid, tid).unwrap_or_default()));
            at += 1;
        }
        let found = self.order.iter().chain(&others);
        let known: HashSet<i32> =
            found.filter_map(|pid| status::read(*pid).ok()?.ns_pid.get(1).copied()).collect();
        numbers.filter(|pid| *pid != 1).all(|pid| known.contains(&pid))
    }

    fn seize_process(&mut self, pid: i32, fresh: &mut Vec<i32>) -> Result<(), Error> {
        let threads = procfs::threads(pid).unwrap_or_default();
        if !self.order.contains(&pid) {
            self.unsettled |= threads.is_empty();
            self.order.push(pid);
        }
        for tid in threads {
            if self.threads.contains_key(&tid) || self.zombies.contains(&tid) {
                continue;
            }
            let tracee = match Tracee::seize(tid, FOLLOW) {
                Ok(tracee) => {
                    // An ended thread can't be interrupted; the next pass no longer sees it.
                    let _ = tracee.interrupt();
                    tracee
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::ESRCH) => {
                        self.unsettled = true;
                        continue;
                    }
                    Some(libc::EPERM) => match Self::why_not(pid, tid) {
                        WhyNot::Ours => Tracee::auto_attached(tid),
                        WhyNot::Zombie => {
                            self.zombies.insert(tid);
                            continue;
                        }
                        WhyNot::Gone => {
                            self.unsettled = true;
                            continue;
                        }
                        WhyNot::Traced => {
                            return Err(refuse(pid, "it is being debugged", "Detach the debugger."));
                        }
                        WhyNot::Forbidden => {
                            return Err(refuse(
                                pid,
                                "it may not be traced by its own user",
                                "Programs that raise their privileges can't be moved.",
                            ));
                        }
                    },
                    _ => return Err(Error::system(format!("tracing thread {tid}"), error)),
                },
            };
            self.threads.insert(tid, (pid, tracee, None));
            fresh.push(tid);
        }
        Ok(())
    }

    fn why_not(pid: i32, tid: i32) -> WhyNot {
        let Ok(status) = status::read_thread(pid, tid) else { return WhyNot::Gone };
        // One that just ended answers so too, and may be gone between two looks.
        match stat::read_thread(pid, tid) {
            Err(_) => return WhyNot::Gone,
            Ok(stat) if stat.state == b'Z' || stat.state == b'X' => return WhyNot::Zombie,
            Ok(_) => {}
        }
        match status.tracer {
            0 => WhyNot::Forbidden,
            tracer if tracer == std::process::id() as i32 || is_thread_of_ours(tracer) => WhyNot::Ours,
            _ => WhyNot::Traced,
        }
    }

    /// Waits until the thread has stopped where it can be captured.
    fn await_stop(&mut self, tid: i32) -> Result<(), Error> {
        let (pid, tracee, _) = self.threads[&tid];
        let deadline = Instant::now() + PATIENCE;
        let mut spins = 0u32;
        let stop = loop {
            match tracee.try_wait() {
                Ok(Some(Stop::Ended(_))) => break None,
                Ok(Some(stop @ Stop::Event { event: libc::PTRACE_EVENT_STOP, .. })) => break Some(stop),
                // The delivery goes on: the handler's frame is built, then the interrupt stops the thread.
                Ok(Some(Stop::Signal(signal))) => drop(tracee.resume(signal)),
                Ok(Some(Stop::Event { .. } | Stop::Syscall)) => drop(tracee.resume(0)),
                Ok(None) => {
                    if Instant::now() > deadline {
                        return Err(refuse(pid, DOES_NOT_STOP, "Try again in a moment."));
                    }
                    spins += 1;
                    if spins > 50 {
                        std::thread::sleep(Duration::from_micros(50));
                    } else {
                        std::thread::yield_now();
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => break None,
                Err(error) => return Err(Error::system(format!("waiting for thread {tid}"), error)),
            }
        };
        match stop {
            Some(stop) => self.threads.get_mut(&tid).expect("known").2 = Some(stop),
            None => drop(self.threads.remove(&tid)),
        }
        Ok(())
    }

    fn describe(&mut self) -> Result<Vec<FrozenProcess>, Error> {
        let mut processes = Vec::new();
        for &host in &self.order {
            let (Ok(stat), Ok(status)) = (stat::read(host), status::read(host)) else { continue };
            let zombie = stat.state == b'Z';
            let name = String::from_utf8_lossy(&stat.comm).into_owned();
            let [_, pid] = status.ns_pid[..] else {
                return Err(refuse(
                    host,
                    "it lives in a pid namespace of its own",
                    "Programs with a sandbox of their own can't be moved yet.",
                ));
            };
            let in_pod = |ids: &[i32]| ids.get(1).copied().unwrap_or(0);
            let mut threads: Vec<FrozenThread> = Vec::new();
            for (&tid, (owner, tracee, stop)) in &self.threads {
                if *owner != host {
                    continue;
                }
                let thread_status = status::read_thread(host, tid)
                    .map_err(|e| Error::system(format!("reading the status of thread {tid}"), e))?;
                threads.push(FrozenThread {
                    tracee: *tracee,
                    tid: in_pod(&thread_status.ns_pid),
                    stopped_by: match stop {
                        Some(Stop::Event { signal, .. }) if *signal != libc::SIGTRAP => Some(*signal),
                        _ => None,
                    },
                });
            }
            if !zombie && threads.is_empty() {
                continue; // ended before it could be seized
            }
            threads.sort_by_key(|t| (t.tid != pid, t.tid));
            if !zombie && threads[0].tid != pid {
                return Err(refuse(
                    host,
                    "its first thread has ended while others go on",
                    "This rare kind of program can't be moved yet.",
                ));
            }
            processes.push(FrozenProcess {
                host,
                node: Node {
                    pid,
                    ppid: 0, // known once all are listed
                    pgid: in_pod(&status.ns_pgid),
                    sid: in_pod(&status.ns_sid),
                    exit_signal: stat.exit_signal,
                    ended: zombie.then_some(stat.exit_code),
                },
                name,
                stat,
                status,
                threads,
                dumpable: None,
            });
        }
        let pids: HashMap<i32, i32> = processes.iter().map(|p| (p.host, p.node.pid)).collect();
        for process in &mut processes {
            process.node.ppid = pids.get(&process.stat.ppid).copied().unwrap_or(1);
        }
        Ok(processes)
    }

    fn let_go(&mut self) {
        for (_, tracee, stop) in self.threads.values_mut() {
            if tracee.detach(0).is_ok() {
                *stop = None;
            }
        }
        // One that had not stopped yet does so as soon as it wakes, and must find somebody then.
        for tid in self.threads.keys().copied().collect::<Vec<_>>() {
            let tracee = Tracee::auto_attached(tid);
            while !matches!(tracee.wait(), Ok(Stop::Ended(_)) | Err(_)) {
                let _ = tracee.detach(0);
            }
        }
    }
}

enum WhyNot {
    Ours,
    Zombie,
    Gone,
    Traced,
    Forbidden,
}

fn is_thread_of_ours(tid: i32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{tid}")).exists()
}

pub(crate) fn refuse(host: i32, reason: &str, remedy: &str) -> Error {
    let name = stat::read(host).map(|s| String::from_utf8_lossy(&s.comm).into_owned()).unwrap_or_default();
    let pid = status::read(host).ok().and_then(|s| s.ns_pid.last().copied()).unwrap_or(host);
    Error::Refused(vec![Refusal {
        process: name,
        pid: pid as u32,
        what: "the process itself".to_owned(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }])
}

/// Waits until a killed process that this thread traces is gone: its leader's end is told only after that
/// of all other threads.
pub(crate) fn await_end(host: i32) {
    let others = procfs::threads(host).unwrap_or_default().into_iter().filter(|tid| *tid != host);
    for tid in others.chain([host]) {
        let tracee = Tracee::auto_attached(tid);
        while !matches!(tracee.wait(), Ok(Stop::Ended(_)) | Err(_)) {}
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
        for process in &self.processes {
            await_end(process.host);
        }
    }

    fn release(&mut self) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        self.helper = None;
        for process in &self.processes {
            dumpable::close(process);
            for thread in &process.threads {
                self.resume_call(process.host, thread);
                let _ = thread.tracee.detach(0);
            }
        }
    }
}

impl Frozen {
    /// Has an interrupted call with a time-out go on with what remains of it. The kernel could do so by
    /// itself (restart_syscall), but then the next freeze could no longer tell which call it was.
    fn resume_call(&self, host: i32, thread: &FrozenThread) {
        let tid = thread.tracee.tid();
        let Ok(mut registers) = thread.tracee.registers() else { return };
        if !syscalls::has_relative_timeout(&registers) {
            return;
        }
        let Ok(now) = status::read_thread(host, tid) else { return };
        if self.waits.is_empty() {
            // This kernel does not say since when threads wait: its own restart is exact.
            if syscalls::undo_spurious_eintr(&mut registers) {
                let _ = thread.tracee.set_registers(&registers);
            }
            return;
        }
        // One that ran since it was observed has only just begun to wait.
        let waited = self.waits.waited(tid, now.voluntary_switches).unwrap_or(0);
        let waited = waited + self.since.elapsed().as_nanos() as i64;
        let resume = syscalls::prepare(&mut registers, waited, |at| read_timespec(host, at));
        if let Resume::WithTimespec { address, timespec } = resume {
            let mut bytes = timespec[0].to_le_bytes().to_vec();
            bytes.extend_from_slice(&timespec[1].to_le_bytes());
            if roam_sys::memory::write(host, address, &bytes).is_err() {
                return; // the kernel restarts it, then
            }
        }
        let _ = thread.tracee.set_registers(&registers);
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.release();
    }
}
