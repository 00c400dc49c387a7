//! Stopping every thread of a session: one attempt at it.
//!
//! Every thread of the pod (but roam-init's) is seized and interrupted; the tree is walked again and
//! again until a pass finds nothing new, since a thread that still runs may fork. Children of
//! seized threads are attached by the kernel itself, so that none slips through.
//!
//! Refuses: threads that are debugged or not ours to trace, and what has not stopped by the attempt's end.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use roam_sys::descriptor::{Shared, compare_shared};
use roam_sys::procfs::{self, stat, status};
use roam_sys::ptrace::{FOLLOW, Stop, Tracee};

use crate::error::{Error, TRY_AGAIN};
use crate::freeze::{FrozenProcess, FrozenThread, PATIENCE, refuse, resume_call};
use crate::kinds::pid_namespaces::Level;
use crate::kinds::syscalls::Waits;
use crate::kinds::tree::Node;
use crate::pod::Pod;

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

/// A thread that waits for a disk or a vfork child can't be stopped, and one that is being interrupted all
/// the same would stop for nobody's benefit once it wakes. So those that wait now are waited for before any
/// is touched. Whoever waits anew later does not count: threads that share a busy memory map do so all the
/// time.
pub(crate) fn wait_until_stoppable(pod: &dyn Pod) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut deep = Vec::new();
    for pid in list(pod).map_err(|e| Error::system("listing the processes", e))? {
        for tid in procfs::threads(pid).unwrap_or_default() {
            deep.extend(deep_wait(pid, tid).map(|wait| (pid, tid, wait)));
        }
    }
    loop {
        deep.retain(|&(pid, tid, wait)| deep_wait(pid, tid) == Some(wait));
        let Some(&(pid, tid, _)) = deep.first() else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(match vfork_child(pid, tid) {
                Some(child) => refuse_vfork(pid, child),
                None => refuse(pid, DOES_NOT_STOP, TRY_AGAIN),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Which uninterruptible wait the thread is in, if it is: by the number of times it has given up its CPU.
fn deep_wait(pid: i32, tid: i32) -> Option<u64> {
    let waits = stat::read_thread(pid, tid).is_ok_and(|s| s.state == b'D');
    waits.then(|| status::read_thread(pid, tid).ok().map(|s| s.voluntary_switches))?
}

/// The child that has this thread's memory until it executes a program or ends, which the thread waits for
/// (docs/adr/0007).
fn vfork_child(pid: i32, tid: i32) -> Option<i32> {
    let shares = |child: &i32| {
        compare_shared(Pid::from_raw(pid), Pid::from_raw(*child), Shared::Memory).is_ok_and(Ordering::is_eq)
    };
    procfs::children(pid, tid).unwrap_or_default().into_iter().find(shares)
}

fn refuse_vfork(pid: i32, child: i32) -> Error {
    let name = stat::read(child).map(|s| String::from_utf8_lossy(&s.comm).into_owned()).unwrap_or_default();
    let number = status::read(child).ok().and_then(|s| s.ns_pid.get(1).copied()).unwrap_or(child);
    let child = format!("process {number} ({name})");
    refuse(
        pid,
        &format!(
            "it waits for {child}, which it started by vfork and which runs in its memory until it starts a program or ends"
        ),
        &format!("{}, or end {child}.", TRY_AGAIN.trim_end_matches('.')),
    )
}

const DOES_NOT_STOP: &str = "it does not stop: it waits for a disk or a network file system";

const COMES_AND_GOES: &str = "programs start and end beside it faster than they can be counted";

/// What one attempt has in its hands.
pub(crate) struct Stopper {
    /// When this attempt ends.
    deadline: Instant,
    /// Whether it was given up because of that.
    pub late: bool,
    /// By host tid: its process and, once stopped, how.
    threads: HashMap<i32, (i32, Tracee, Option<Stop>)>,
    order: Vec<i32>,
    zombies: HashSet<i32>,
    /// What a thread started while it was being stopped; attached from its first instruction.
    born: HashSet<i32>,
    /// Something that was listed was gone when it was reached. What it started may have come in where the
    /// pass had looked already.
    unsettled: bool,
}

impl Stopper {
    pub fn new(deadline: Instant) -> Self {
        let (threads, zombies, born) = (HashMap::new(), HashSet::new(), HashSet::new());
        Stopper { deadline, late: false, threads, order: Vec::new(), zombies, born, unsettled: false }
    }

    /// True once this attempt's time is over, which is noted.
    fn is_late(&mut self) -> bool {
        self.late |= Instant::now() > self.deadline;
        self.late
    }

    pub fn stop_all(&mut self, pod: &dyn Pod) -> Result<(), Error> {
        loop {
            let mut fresh = Vec::new();
            self.unsettled = false;
            for pid in list(pod).map_err(|e| Error::system("listing the processes", e))? {
                self.seize_process(pid, &mut fresh)?;
            }
            let settled = fresh.is_empty() && !self.unsettled;
            if settled && self.has_all(pod) {
                return Ok(());
            }
            if fresh.is_empty() && self.is_late() {
                return Err(refuse(pod.init().as_raw(), COMES_AND_GOES, TRY_AGAIN));
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
        let mut spins = 0u32;
        let stop = loop {
            match tracee.try_wait() {
                Ok(Some(Stop::Ended(_))) => break None,
                Ok(Some(stop @ Stop::Event { event: libc::PTRACE_EVENT_STOP, .. })) => break Some(stop),
                // The delivery goes on: the handler's frame is built, then the interrupt stops the thread.
                Ok(Some(Stop::Signal(signal))) => drop(tracee.resume_interrupted(signal)),
                Ok(Some(stop @ (Stop::Event { .. } | Stop::Syscall))) => {
                    self.born.extend(started(tracee, stop));
                    let _ = tracee.resume_interrupted(0);
                }
                Ok(None) => {
                    if self.is_late() {
                        return Err(refuse(pid, DOES_NOT_STOP, TRY_AGAIN));
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

    pub fn describe(&mut self) -> Result<Vec<FrozenProcess>, Error> {
        let mut processes = Vec::new();
        for &host in &self.order {
            let (Ok(stat), Ok(status)) = (stat::read(host), status::read(host)) else { continue };
            let zombie = stat.state == b'Z';
            let name = String::from_utf8_lossy(&stat.comm).into_owned();
            let Some(pid) = status.ns_pid.get(1).copied() else { continue };
            let Ok(level) = Level::of(host, &status) else {
                return Err(refuse(host, "its pid namespace can't be looked at", TRY_AGAIN));
            };
            let in_pod = |ids: &[i32]| ids.get(1).copied().unwrap_or(0);
            if zombie && in_pod(&status.ns_sid) == 0 {
                // One of Roam's own that roam-init has not taken note of yet: it has a session that is outside, which
                // nothing of the session has.
                continue;
            }
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
                    level,
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

    /// Lets all of them run on. One that has not stopped yet does so as soon as it wakes, and must find
    /// somebody then; a new thread or child of one may be attached without having been seen. Calls go on as after a freeze
    /// that began then.
    pub fn let_go(&mut self, waits: &Waits, since: Instant) {
        let unseen = self.born.iter().filter(|tid| !self.threads.contains_key(tid));
        let mut left: HashMap<i32, Tracee> = unseen.map(|&tid| (tid, Tracee::auto_attached(tid))).collect();
        for (&tid, (_, tracee, stop)) in &self.threads {
            if stop.is_some() {
                resume_call(*tracee, waits, since);
            }
            if stop.is_none() || tracee.detach(0).is_err() {
                left.insert(tid, *tracee);
            }
        }
        while !left.is_empty() {
            let mut born = Vec::new();
            left.retain(|_, tracee| match tracee.try_wait() {
                Ok(None) => true,
                Ok(Some(Stop::Ended(_))) | Err(_) => false,
                Ok(Some(stop)) => {
                    born.extend(started(*tracee, stop));
                    resume_call(*tracee, waits, since);
                    tracee.detach(if let Stop::Signal(signal) = stop { signal } else { 0 }).is_err()
                }
            });
            left.extend(born.into_iter().map(|tid| (tid, Tracee::auto_attached(tid))));
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// The thread or process that a stop tells of, as the keeper sees it.
fn started(tracee: Tracee, stop: Stop) -> Option<i32> {
    let event = matches!(stop, Stop::Event { event, .. } if event != libc::PTRACE_EVENT_STOP);
    event.then(|| tracee.event_message().ok().and_then(|tid| i32::try_from(tid).ok()))?
}

enum WhyNot {
    Ours,
    Zombie,
    Gone,
    Traced,
    Forbidden,
}

pub(crate) fn is_thread_of_ours(tid: i32) -> bool {
    std::path::Path::new(&format!("/proc/self/task/{tid}")).exists()
}
