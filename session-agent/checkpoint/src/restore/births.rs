//! Processes that can have memory of their parents are made late: when the first of their own comes. By then the
//! parent's is in place, and to fork is the kernel's only way of giving two processes one page until either writes to it.
//! So a child that was forked at the source without another program since is forked here as well, with its parent's
//! pages; what it does not have in common with its parent is dropped, and what it has for itself is written over the rest.
//! All others are made at once, while there is nothing to unmap in them.
//!
//! Whose creator here is another than its parent (a brother, or a helper of another process: see [`tree`]) gets copies
//! instead, and so does one whose parent's memory changed since it was made.
//!
//! Refused: pages of a parent for a process that has memory already, or where the two do not have the same mapped.

use roam_sys::batch::Batch;
use roam_sys::memory::MemFile;
use roam_sys::runs::{self, Run, push};

use super::{Made, Restorer};
use crate::error::Error;
use crate::kinds::tree::{self, Node, Step};
use crate::pages::{Mapping, PAGE, inheritable};

/// What is kept is gathered to so many runs before it is seen to.
const GATHER: usize = 1024;
/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// A process that still has the memory it was born with.
#[derive(Clone, Copy)]
pub(super) struct Newborn {
    /// Whose memory that is, and how often that had been written to by then; nobody's of the session.
    of: Option<(i32, u64)>,
}

/// A process that is being told what it has of its parent's memory.
pub(super) struct Heir {
    from: i32,
    /// It has its parent's pages; otherwise they are copied.
    shares: bool,
    /// Where it can have some and nothing was done yet.
    open: Vec<Run>,
    /// What it has of that, as far as it was told.
    kept: Vec<Run>,
}

impl Restorer {
    /// Plans the processes that are not there yet, and ends those that are no more.
    pub(super) fn grow_tree(&mut self, nodes: &[Node]) -> Result<(), Error> {
        let mut gone: Vec<Node> = self
            .layout
            .processes
            .iter()
            .map(|p| p.node)
            .filter(|old| !nodes.iter().any(|n| n.pid == old.pid && n.ended.is_some() == old.ended.is_some()))
            .collect();
        gone.sort_by_key(|n| n.level.ending());
        for pid in gone.into_iter().map(|n| n.pid) {
            self.files_of_memory.remove(&pid);
            self.filled.remove(&pid);
            if let Some(stub) = self.stubs.remove(&pid) {
                self.end(&stub)?;
            }
            self.layout.processes.retain(|p| p.node.pid != pid);
        }
        let steps = if self.layout.processes.is_empty() {
            tree::plan(nodes, &self.pids).map_err(|e| Error::Image(e.to_string()))?
        } else {
            self.new_steps(nodes)?
        };
        self.steps = steps.into();
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Fork { creator, pid, as_sibling, exit_signal, level } => {
                let creator = if creator == 0 { self.holder } else { creator };
                if self.heirs.contains_key(&creator) {
                    self.settle(creator)?;
                }
                let of = match self.newborns.get(&creator) {
                    Some(newborn) => newborn.of,
                    None => self.process(creator).map(|_| (creator, self.times_filled(creator))),
                };
                let creator = *self.stub(creator)?;
                let flags = libc::CLONE_FILES | if as_sibling { libc::CLONE_PARENT } else { 0 };
                let signal = if as_sibling { 0 } else { exit_signal };
                let mut stub = self.bear(&creator, flags as u64, signal, (pid, level))?;
                if creator.pid == self.holder {
                    // The holder has shared memory attached in order to fill it; its children have not.
                    let mut batch = Batch::new();
                    for made in &self.objects {
                        if let Made::Segment { address, .. } = made {
                            batch.must("detaching shared memory", libc::SYS_shmdt, &[(*address).into()]);
                        }
                    }
                    if !batch.is_empty() {
                        stub.run(&batch)?;
                    }
                }
                self.stubs.insert(pid, stub);
                self.newborns.insert(pid, Newborn { of });
            }
            Step::SetSid(pid) => {
                self.stub(pid)?.call("becoming a session leader", libc::SYS_setsid, [0; 6])?;
            }
            Step::SetPgid { pid, pgid } => {
                let stub = *self.stub(pid)?;
                let group = self.pids.number(stub.level.namespace, pgid).unwrap_or(-1);
                stub.call("joining a process group", libc::SYS_setpgid, [0, group as u64, 0, 0, 0, 0])?;
            }
            Step::Dismiss { pid, .. } => {
                let stub = *self.stub(pid)?;
                self.stubs.remove(&pid);
                self.newborns.remove(&pid);
                self.end(&stub)?;
            }
        }
        Ok(())
    }

    /// Makes the tree as far as nobody can have memory of the process that makes it.
    pub(super) fn bring_strangers_forth(&mut self) -> Result<(), Error> {
        while let Some(step) = self.steps.pop_front() {
            if let Step::Fork { creator, pid, .. } = step
                && let Some(parent) = self.process(creator)
                && let child = self.layout.processes.iter().find(|p| p.node.pid == pid)
                // A helper may make processes that can.
                && child.is_none_or(|child| !inheritable(parent, &child.mappings).is_empty())
            {
                self.steps.push_front(step);
                break;
            }
            self.step(step)?;
        }
        Ok(())
    }

    /// Makes the tree as far as this process.
    fn bring_forth(&mut self, pid: i32) -> Result<(), Error> {
        while !self.stubs.contains_key(&pid)
            && let Some(step) = self.steps.pop_front()
        {
            self.step(step)?;
        }
        Ok(())
    }

    /// Has a process of the layout be there, with memory of its own.
    pub(super) fn settle(&mut self, pid: i32) -> Result<(), Error> {
        self.bring_forth(pid)?;
        if self.heirs.contains_key(&pid) {
            self.see_to(pid, true)?;
            self.heirs.remove(&pid);
        } else if let Some(newborn) = self.newborns.remove(&pid) {
            self.furnish_newborn(pid, newborn, false)?;
        }
        Ok(())
    }

    /// Completes the tree of the layout.
    pub(super) fn settle_all(&mut self) -> Result<(), Error> {
        while let Some(step) = self.steps.pop_front() {
            self.step(step)?;
        }
        let all: Vec<i32> = self.newborns.keys().chain(self.heirs.keys()).copied().collect();
        all.into_iter().try_for_each(|pid| self.settle(pid))
    }

    /// Something is about to be done to a process's memory.
    pub(super) fn fill(&mut self, pid: i32) -> Result<(), Error> {
        self.settle(pid)?;
        *self.filled.entry(pid).or_default() += 1;
        Ok(())
    }

    fn times_filled(&self, pid: i32) -> u64 {
        self.filled.get(&pid).copied().unwrap_or(0)
    }

    /// The mappings of a living process.
    fn process(&self, pid: i32) -> Option<&[Mapping]> {
        let mut all = self.layout.processes.iter().filter(|p| p.node.ended.is_none());
        all.find(|p| p.node.pid == pid).map(|p| p.mappings.as_slice())
    }

    /// Gives a newborn the mappings that it is to have: of those that it was born with it may keep what is the same.
    fn furnish_newborn(&mut self, pid: i32, newborn: Newborn, keeps: bool) -> Result<(), Error> {
        let born_with = newborn.of.and_then(|(of, _)| self.process(of)).unwrap_or_default().to_vec();
        if !keeps && !born_with.is_empty() {
            let mut batch = Batch::new();
            for m in &born_with {
                let place = [m.start.into(), (m.end - m.start).into()];
                batch.must("unmapping the parent's memory", libc::SYS_munmap, &place);
            }
            self.stub(pid)?.run(&batch)?;
        }
        let layout = std::mem::take(&mut self.layout);
        let process = layout.processes.iter().find(|p| p.node.pid == pid);
        let before = if keeps { born_with } else { Vec::new() };
        let mapped = process.map_or(Ok(()), |process| self.map_process(&layout, process, &before));
        self.layout = layout;
        mapped
    }

    /// A process has these pages as its parent has them.
    pub(super) fn inherit(&mut self, pid: i32, from: i32, run: Run) -> Result<(), Error> {
        if self.heirs.get(&pid).is_none_or(|heir| heir.from != from) {
            self.begin_to_inherit(pid, from)?;
        }
        let heir = self.heirs.get_mut(&pid).expect("begun above");
        let next = heir.kept.last().map_or(0, |last| last.end);
        let pages = run.start.is_multiple_of(PAGE) && run.end.is_multiple_of(PAGE);
        if !pages || run.start < next || runs::within(&heir.open, run) != [run] {
            return Err(Error::Image(format!(
                "process {pid} can't have memory of {from} at {:x}",
                run.start
            )));
        }
        push(&mut heir.kept, run);
        // Copies are made at once, so that whoever counts memory sees them.
        if !heir.shares || heir.kept.len() >= GATHER { self.see_to(pid, false) } else { Ok(()) }
    }

    fn begin_to_inherit(&mut self, pid: i32, from: i32) -> Result<(), Error> {
        let (Some(child), Some(parent)) = (self.process(pid), self.process(from)) else {
            return Err(Error::Image(format!("{from} or {pid} is no process with memory")));
        };
        let open = inheritable(parent, child);
        self.settle(from)?;
        self.bring_forth(pid)?;
        let Some(newborn) = self.newborns.remove(&pid) else {
            return Err(Error::Image(format!("process {pid} has memory of its own already")));
        };
        let shares = newborn.of == Some((from, self.times_filled(from)));
        self.furnish_newborn(pid, newborn, shares)?;
        self.heirs.insert(pid, Heir { from, shares, open, kept: Vec::new() });
        Ok(())
    }

    /// Drops what an heir does not keep, as far as it was told, or to the end.
    fn see_to(&mut self, pid: i32, to_the_end: bool) -> Result<(), Error> {
        let heir = self.heirs.get_mut(&pid).expect("one that was begun");
        let (from, shares) = (heir.from, heir.shares);
        let kept = std::mem::take(&mut heir.kept);
        let told = if to_the_end { u64::MAX } else { kept.last().map_or(0, |last| last.end) };
        let dropped = runs::difference(&runs::within(&heir.open, Run { start: 0, end: told }), &kept);
        heir.open = runs::within(&heir.open, Run { start: told, end: u64::MAX });
        if !shares {
            return kept.into_iter().try_for_each(|run| self.copy(from, pid, run));
        }
        for some in dropped.chunks(GATHER) {
            let mut batch = Batch::new();
            for run in some {
                let args = [run.start.into(), (run.end - run.start).into(), libc::MADV_DONTNEED.into()];
                batch.must("dropping the parent's pages", libc::SYS_madvise, &args);
            }
            self.stub(pid)?.run(&batch)?;
        }
        Ok(())
    }

    fn copy(&mut self, from: i32, pid: i32, run: Run) -> Result<(), Error> {
        let io = |e| Error::system(format!("copying memory of process {from} to {pid}"), e);
        let parent = MemFile::open(self.stub(from)?.host).map_err(io)?;
        let mut bytes = Vec::new();
        let mut at = run.start;
        while at < run.end {
            let len = (run.end - at).min(CHUNK);
            bytes.resize(len as usize, 0);
            parent.read(at, &mut bytes).map_err(io)?;
            let writable = self.mapped(pid, at, len).unwrap_or(false);
            self.write_private(pid, at, &bytes, writable).map_err(io)?;
            at += len;
        }
        Ok(())
    }
}
