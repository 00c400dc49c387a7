//! What forked children still have in common with their parents: pages that the kernel copies once somebody writes to them
//! (copy-on-write). The target has them sent once, of the parent, and forks as well (`restore/births.rs`).
//!
//! Page frames can't be seen without rights, so pages are known by their bytes: a child's page is its parent's if it is
//! what was *sent* of the parent's, by its hash. What the parent has by now would not do: it may have been sent while
//! it was another. The child's writes are noted before its page is read, so that what changes later is sent.
//!
//! They are read through /proc/PID/mem: process_vm_readv(2) has the kernel copy them first, and the source's memory would
//! multiply (`gup_must_unshare` in the kernel, since Linux 5.19).
//!
//! Only pages that more than one process has (bit 56 of the page map) are hashed. A child is looked at when the target is
//! first told of it. Not kept in common, but sent once for each: what a process has in common with another than its
//! parent, since that has ended; what a parent had alone when it was sent and shares with a child forked since; and
//! what has other mappings around it than the parent's.

use std::collections::{HashMap, HashSet};

use roam_sys::procfs;
use roam_sys::runs::{self, Run, push};

use super::memory_send::Access;
use super::object_pages::{Known, known};
use crate::pages::{Layout, PAGE, ProcessLayout, inheritable};

/// What the target has of parents, by which their children's pages are known.
#[derive(Default)]
pub struct Inheritance {
    /// The processes that the target was told of.
    told: HashSet<i32>,
    /// Parents with children that run the same program.
    parents: HashSet<i32>,
    /// Of new processes: their parent, and where they can have pages of it.
    heirs: HashMap<i32, (i32, Vec<Run>)>,
    /// What was sent of pages that others have as well, by process and address.
    sent: HashMap<i32, HashMap<u64, Known>>,
    /// Whose pages were gone through since the target was told of the layout: only of those it is known what it has.
    begun: HashSet<i32>,
    /// The process that is being sent, and its pages that others have as well.
    current: (i32, Vec<Run>),
    /// No more is noted than is used at once.
    last: bool,
}

impl Inheritance {
    /// The target is told of this layout, maybe as the `last` one.
    pub fn told(&mut self, layout: &Layout, open: &HashMap<i32, Access>, last: bool) {
        self.parents.clear();
        self.heirs.clear();
        self.begun.clear();
        let new: HashSet<i32> = open.keys().copied().filter(|pid| self.told.insert(*pid)).collect();
        self.last = last && new.is_empty();
        if self.last {
            self.sent.clear();
            return;
        }
        let of = |pid: i32| layout.processes.iter().find(|p| p.node.pid == pid);
        for child in &layout.processes {
            let (pid, from) = (child.node.pid, child.node.ppid);
            let (Some(parent), Some(access), Some(theirs)) = (of(from), open.get(&pid), open.get(&from))
            else {
                continue;
            };
            if !runs_the_same(access.host(), theirs.host()) {
                continue;
            }
            self.parents.insert(from);
            if new.contains(&pid) {
                self.heirs.insert(pid, (from, inheritable(&parent.mappings, &child.mappings)));
            }
        }
        self.sent.retain(|pid, _| self.parents.contains(pid));
    }

    /// These pages of a process are about to be sent; of `kept` the target has what was sent before.
    pub fn begin(&mut self, access: &Access, process: &ProcessLayout, kept: &[Run], pages: &[Run]) {
        let pid = process.node.pid;
        self.begun.insert(pid);
        if let Some(sent) = self.sent.get_mut(&pid) {
            sent.retain(|page, _| holds(kept, *page));
        }
        // What was written since the last look is nobody else's any more.
        let common = if self.last { Vec::new() } else { access.in_common(pages) };
        self.current = (pid, common);
    }

    /// Whether others have as well some of these pages of the process that is being sent.
    pub fn is_in_common(&self, part: Run) -> bool {
        !runs::within(&self.current.1, part).is_empty()
    }

    /// These bytes of a process are sent.
    pub fn note(&mut self, pid: i32, address: u64, bytes: &[u8]) {
        if self.current.0 != pid || !self.parents.contains(&pid) {
            return;
        }
        let part = Run { start: address, end: address + bytes.len() as u64 };
        let sent = self.sent.entry(pid).or_default();
        for run in runs::within(&self.current.1, part) {
            for page in (run.start..run.end).step_by(PAGE as usize) {
                let at = (page - address) as usize;
                sent.insert(page, known(&bytes[at..at + PAGE as usize]));
            }
        }
    }

    /// Of a process that is new: its parent, and which of these pages are as they were sent of that.
    pub fn of_parent(
        &mut self,
        access: &Access,
        process: &ProcessLayout,
        pages: &[Run],
    ) -> Option<(i32, Vec<Run>)> {
        let pid = process.node.pid;
        let (from, common) = self.heirs.remove(&pid)?;
        let theirs = self.sent.get(&from).filter(|_| self.begun.contains(&from))?;
        let candidates = access.in_common(&runs::intersection(pages, &common));
        let (mut same, mut hashes) = (Vec::new(), Vec::new());
        for run in candidates {
            access.each_page(run, |page, bytes| {
                let Some(theirs) = theirs.get(&page) else { return };
                if *theirs == known(bytes) {
                    push(&mut same, Run { start: page, end: page + PAGE });
                    hashes.push((page, *theirs));
                }
            });
        }
        if self.parents.contains(&pid) {
            self.sent.entry(pid).or_default().extend(hashes);
        }
        (!same.is_empty()).then_some((from, same))
    }
}

/// Whether no program was started in either since one was forked from the other: it would have another place and other
/// random bytes (auxv, proc(5)). Where both are alike by chance the pages tell.
fn runs_the_same(host: i32, other: i32) -> bool {
    let auxv = |host: i32| procfs::read(&format!("/proc/{host}/auxv")).ok().filter(|auxv| !auxv.is_empty());
    auxv(host).is_some_and(|own| auxv(other) == Some(own))
}

/// Whether an address lies in one of these ascending runs.
fn holds(runs: &[Run], address: u64) -> bool {
    runs.get(runs.partition_point(|run| run.end <= address)).is_some_and(|run| run.start <= address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::kinds::memory::Areas;
    use crate::kinds::memory_send::Sender;
    use crate::kinds::memory_traits::Traits;
    use crate::kinds::pid_namespaces::Level;
    use crate::kinds::tree::Node;
    use crate::pages::{Backing, Mapping, PageSink, Space};
    use roam_sys::testing::Siblings;

    const PAGES: usize = 64;
    const SIZE: usize = PAGE as usize;

    /// What a target would have: each page's first byte, by process and number of the page.
    struct Target {
        first: u64,
        has: HashMap<(i32, usize), u8>,
        inherited: Vec<usize>,
    }

    impl Target {
        fn numbers(&self, address: u64, len: u64) -> impl Iterator<Item = usize> + use<> {
            let first = ((address - self.first) / PAGE) as usize;
            first..first + (len / PAGE) as usize
        }
    }

    impl PageSink for Target {
        fn layout(&mut self, _: &Layout) -> Result<(), Error> {
            Ok(())
        }
        fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error> {
            let Space::Process(pid) = space else { panic!("no object was sent") };
            for (page, bytes) in self.numbers(address, bytes.len() as u64).zip(bytes.chunks(SIZE)) {
                self.has.insert((pid, page), bytes[0]);
            }
            Ok(())
        }
        fn forget(&mut self, _: Space, _: u64, _: u64) -> Result<(), Error> {
            Ok(())
        }
        fn inherited(&mut self, pid: i32, from: i32, address: u64, len: u64) -> Result<(), Error> {
            for page in self.numbers(address, len) {
                let byte = self.has[&(from, page)];
                self.has.insert((pid, page), byte);
                self.inherited.push(page);
            }
            Ok(())
        }
    }

    #[test]
    fn a_child_has_what_was_sent_of_its_parent_and_not_what_that_has_now() {
        let mut block = vec![1u8; (PAGES + 1) * SIZE];
        let skipped = block.as_ptr().align_offset(SIZE);
        let place = Run { start: block.as_ptr() as u64 + skipped as u64, end: 0 };
        let place = Run { end: place.start + (PAGES * SIZE) as u64, ..place };
        let children = Siblings::start(2).unwrap();
        // While it is sent, one of the parent's pages is another than its elder children's.
        block[skipped + 7 * SIZE] = 2;
        let younger = Siblings::start(1).unwrap();
        let (parent, child) = (std::process::id() as i32, children.pids()[0]);
        let layout = |pid: i32, ppid: i32| ProcessLayout {
            node: Node { pid, ppid, pgid: 0, sid: 0, exit_signal: 17, ended: None, level: Level::default() },
            name: String::new(),
            mappings: vec![Mapping {
                start: place.start,
                end: place.end,
                prot: 3,
                shared: false,
                traits: Traits::default(),
                backing: Backing::Anonymous,
            }],
        };
        let layout =
            Layout { processes: vec![layout(parent, 1), layout(child, parent)], ..Layout::default() };
        let areas = Areas { populated: vec![place], ..Areas::default() };
        let open = |pid: i32| (pid, Access::open(pid, areas.clone()).unwrap());
        let open: HashMap<i32, Access> = [open(parent), open(child)].into();
        let mut target = Target { first: place.start, has: HashMap::new(), inherited: Vec::new() };
        let mut sender = Sender::new(&mut target);
        sender.inheritance.told(&layout, &open, false);
        sender.process(&open[&parent], &layout.processes[0]).unwrap();
        block[skipped + 7 * SIZE] = 1;
        sender.process(&open[&child], &layout.processes[1]).unwrap();
        // Reading has not made copies of them.
        assert_eq!(open[&child].in_common(&[place]), [place]);
        // It is known by now.
        sender.inheritance.told(&layout, &open, false);
        sender.process(&open[&parent], &layout.processes[0]).unwrap();
        sender.process(&open[&child], &layout.processes[1]).unwrap();
        let others: Vec<usize> = (0..PAGES).filter(|page| *page != 7).collect();
        assert_eq!(target.inherited, others);
        assert!((0..PAGES).all(|page| target.has[&(child, page)] == 1));
        drop((children, younger));
    }
}
