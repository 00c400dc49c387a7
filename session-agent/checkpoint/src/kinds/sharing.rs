//! What processes share that the engine makes anew for each, and what threads of one process do not share: looked
//! for before anything is frozen, and refused.
//!
//! - processes with one memory (CLONE_VM): a vfork child is one for a moment and is waited for elsewhere
//! - processes with one working directory and umask (CLONE_FS), and threads with their own
//! - threads of one process in different namespaces
//! - a first thread that has ended while others go on
//! - filters (seccomp) that a thread installed and that were not recorded, and debuggers that hold one

use std::cmp::Ordering;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::descriptor::{Shared, compare_shared};
use roam_sys::procfs::{self, stat, status};

use super::descriptors::Holder;
use super::{filters, namespaces};
use crate::pod::Pod;
use crate::stopping::is_thread_of_ours;

/// What processes share here that can't be shared at the target.
#[must_use]
pub fn between_processes(holders: &[Holder]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for (what, name) in [(Shared::Memory, "its memory"), (Shared::Folders, "its working directory")] {
        // kcmp orders what tasks refer to, so look-alikes are found by binary search.
        let mut seen: Vec<&Holder> = Vec::with_capacity(holders.len());
        for holder in holders {
            let order =
                |other: &&Holder| compare_shared(other.host, holder.host, what).unwrap_or(Ordering::Less);
            match seen.binary_search_by(order) {
                Err(place) => seen.insert(place, holder),
                // Of what ends the kernel has taken everything, so that it all looks the same.
                Ok(same) if is_ending(seen[same].host) || is_ending(holder.host) => {}
                Ok(same) if is_vfork(seen[same].host, holder.host) => {}
                Ok(same) => refusals.push(Refusal {
                    process: holder.name.clone(),
                    pid: holder.pid.unsigned_abs(),
                    what: name.into(),
                    reason: format!("it is shared with process {}", seen[same].pid),
                    remedy: "This program can't be moved yet.".into(),
                }),
            }
        }
    }
    refusals
}

fn is_ending(pid: Pid) -> bool {
    stat::is_ending(pid.as_raw(), pid.as_raw())
}

/// One of the two waits for the other to exec or end.
fn is_vfork(a: Pid, b: Pid) -> bool {
    let waits = |parent: Pid, child: Pid| {
        stat::read(child.as_raw()).is_ok_and(|s| s.ppid == parent.as_raw())
            && procfs::threads(parent.as_raw())
                .unwrap_or_default()
                .into_iter()
                .any(|tid| stat::read_thread(parent.as_raw(), tid).is_ok_and(|s| s.state == b'D'))
    };
    waits(a, b) || waits(b, a)
}

/// Why this process can't be carried, judged by its threads. None of them needs to be stopped.
#[must_use]
pub fn among_threads(host: i32, pod: &dyn Pod) -> Option<(String, &'static str)> {
    let leader = status::read(host).ok()?;
    let init = status::read(pod.init().as_raw()).ok()?;
    let tids = procfs::threads(host).unwrap_or_default();
    let others_live = || tids.iter().any(|tid| *tid != host && !stat::is_ending(host, *tid));
    if tids.len() > 1 && stat::read_thread(host, host).is_ok_and(|s| s.state == b'Z') && others_live() {
        let why = "its first thread has ended while others go on";
        return Some((why.into(), "This rare kind of program can't be moved yet."));
    }
    for tid in tids {
        let Ok(thread) = status::read_thread(host, tid) else { continue };
        if filters::has_own(&thread, &init) && !filters::recorded(pod) {
            let (why, remedy) = filters::NOT_RECORDED;
            return Some((why.into(), remedy));
        }
        // The keeper itself stops a thread for a moment that installs a filter.
        if thread.tracer != 0 && !is_thread_of_ours(thread.tracer) {
            return Some(("it is being debugged".into(), "Detach the debugger first."));
        }
        let apart = compare_shared(Pid::from_raw(host), Pid::from_raw(tid), Shared::Folders);
        if tid != host && apart.is_ok_and(Ordering::is_ne) && !stat::is_ending(host, tid) {
            let why = "a thread has a working directory of its own";
            return Some((why.into(), "This rare kind of program can't be moved yet."));
        }
        if tid != host && namespaces::is_apart(host, tid) && !stat::is_ending(host, tid) {
            let why = "a thread is in other namespaces than its process";
            return Some((why.into(), "This rare kind of program can't be moved yet."));
        }
        if thread.uid != leader.uid || thread.gid != leader.gid {
            let why = "a thread runs as another user";
            return Some((why.into(), "This rare kind of program can't be moved yet."));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::Here;

    fn holder(pid: i32) -> Holder {
        let host = Pid::from_raw(pid);
        let pidfd = roam_sys::descriptor::pidfd_open(host).unwrap();
        Holder { host, pid, name: "test".into(), pidfd }
    }

    #[test]
    fn separate_processes_share_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        let own = std::process::id() as i32;
        assert!(between_processes(&[holder(own), holder(pid)]).is_empty());
        // The same process twice stands for two that share all.
        assert_eq!(between_processes(&[holder(pid), holder(pid)]).len(), 2);
        assert!(among_threads(pid, &Here::new()).is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
