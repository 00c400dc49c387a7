//! Which pages a running session writes, for sending its memory ahead.
//!
//! Each process is given a userfaultfd, and the kernel notes writes in one of two ways, whichever it has:
//! - asynchronous write protection (Linux 6.7): it notes the first write to each page of a registered area, and
//!   PAGEMAP_SCAN reads and re-arms in one call while the session runs;
//! - soft-dirty bits ([`soft_dirty`]), read and cleared while the session stands still for a moment.
//!
//! Where neither works there is nothing to track and everything is sent at the end.
//!
//! Pages of areas that are not registered (made since, moved by mremap, inherited by a fork) count as
//! written, and so does what lies where something else was mapped in the last round, and what was not there then.

mod soft_dirty;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;
use roam_sys::borrowed::Borrowed;
use roam_sys::descriptor::{pidfd_getfd, pidfd_open};
use roam_sys::inject::InjectError;
use roam_sys::limits::Raised;
use roam_sys::runs::{self, Run, push};
use roam_sys::tracking::{self, Method};
use roam_sys::uffd::{self, Purpose, Registrar};

use crate::error::Error;
use crate::freeze::{Frozen, FrozenProcess, freeze};
use crate::kinds::inheritance::Inheritance;
use crate::kinds::memory::{Builder, ObjectViews};
use crate::kinds::memory_send::{Access, Sender};
use crate::kinds::namespace_finder::Finder;
use crate::kinds::object_pages::ObjectPages;
use crate::kinds::resident;
use crate::objects::Objects;
use crate::pages::{Backing, Layout, Mapping, PageSink, PageStats, ProcessLayout, Space};
use crate::pod::Pod;
use soft_dirty::Bits;

/// Tracks the writes of a session's processes.
pub struct Tracker {
    method: Method,
    processes: HashMap<i32, Tracked>,
    objects: Objects,
    /// What the target has of them.
    shown: ObjectPages,
    /// And of parents.
    inheritance: Inheritance,
    /// Processes that had a ring of asynchronous I/O in any round: see `capture::written_by_devices`.
    rings: HashSet<i32>,
}

struct Tracked {
    uffd: Registrar,
    notes: Notes,
    /// The mappings of the last round: within them, what is not noted as written was sent.
    armed: Vec<Mapping>,
    /// Which of their pages the target has.
    sent: Vec<Run>,
}

/// Where writes are noted.
enum Notes {
    /// In the page map, by asynchronous write protection.
    Asynchronous,
    /// In the page map, by soft-dirty bits.
    SoftDirty(Bits),
}

/// What a process has for itself.
struct Found {
    /// All its own pages.
    own: Vec<Run>,
    /// Those of them that may have been written since the last round.
    changed: Vec<Run>,
}

/// Whether this kernel can track writes.
#[must_use]
pub fn supported() -> bool {
    tracking::method().is_some()
}

impl Tracker {
    /// Begins to track: the session is stopped for a moment.
    ///
    /// # Errors
    /// If it can't be stopped, or the kernel can't track ([`supported`]).
    pub fn start(pod: &dyn Pod) -> Result<Self, Error> {
        let method = tracking::method().ok_or_else(|| {
            Error::system("tracking writes", std::io::Error::from_raw_os_error(libc::EOPNOTSUPP))
        })?;
        let (objects, shown, inheritance, rings) = Default::default();
        let mut tracker = Self { method, processes: HashMap::new(), objects, shown, inheritance, rings };
        let frozen = freeze(pod)?;
        for process in frozen.living() {
            tracker.begin(process)?;
        }
        frozen.thaw();
        Ok(tracker)
    }

    /// Begins to track a process, or again because its memory is another's: it was forked or executed a program.
    fn begin(&mut self, process: &FrozenProcess) -> Result<(), Error> {
        let uffd = install(process, self.method.purpose())?;
        let notes = match self.method {
            Method::Asynchronous => Notes::Asynchronous,
            Method::SoftDirty => Notes::SoftDirty(Bits::open(process.host)),
        };
        let old = self.processes.remove(&process.node.pid);
        let (armed, sent) = old.map(|old| (old.armed, old.sent)).unwrap_or_default();
        self.processes.insert(process.node.pid, Tracked { uffd, notes, armed, sent });
        Ok(())
    }

    /// A round while the session runs: the layout as it is now, then what was written since the last
    /// round (in the first round: everything).
    ///
    /// # Errors
    /// If it can't be read, or the sink does not take it.
    pub fn round(&mut self, pod: &dyn Pod, sink: &mut dyn PageSink) -> Result<PageStats, Error> {
        // The tree and the maps must be of one moment; stopping costs less than being wrong.
        let frozen = freeze(pod)?;
        let mut builder = Builder::new(pod, &mut self.objects);
        for process in &frozen.processes {
            builder.add(process.host, &process.name, process.node)?;
        }
        let (layout, views, areas) = builder.finish(&Finder::of(pod, frozen.processes.iter())?);
        self.rings.extend(with_rings(&layout));
        let open = frozen.open_memory(&areas)?;
        // What it writes in the processes is no reason to send pages again.
        let there = resident::all(&frozen, &self.objects, &views)?;
        self.arm(&frozen, &open, &layout)?;
        frozen.thaw();
        sink.layout(&layout)?;
        let mut sender = Sender::new(sink);
        sender.running = true;
        sender.there = there;
        self.send(&open, &layout, &mut sender)?;
        let objects = std::mem::take(&mut self.objects);
        let sent = self.send_objects(&layout, (&objects, &views), &mut sender);
        self.objects = objects;
        sent.map(|()| sender.stats)
    }

    /// Sends what the target does not have of shared objects. It was just told of the layout.
    pub(crate) fn send_objects(
        &mut self,
        layout: &Layout,
        (objects, views): (&Objects, &ObjectViews),
        sender: &mut Sender<'_>,
    ) -> Result<(), Error> {
        sender.shown = std::mem::take(&mut self.shown);
        sender.shown.told(&layout.objects);
        let sent = sender.objects(objects, views);
        self.shown = std::mem::take(&mut sender.shown);
        sent
    }

    /// Has writes noted from now on. The maps are what they are known to be: registering a range that has changed
    /// would split the program's areas under it.
    fn arm(&mut self, frozen: &Frozen, open: &HashMap<i32, Access>, layout: &Layout) -> Result<(), Error> {
        for process in frozen.living() {
            let same = open.get(&process.node.pid).is_some_and(|access| !access.areas.marked.is_empty());
            let known = self.processes.get(&process.node.pid);
            if known.is_none_or(|known| !same && !known.armed.is_empty()) {
                self.begin(process)?;
            }
        }
        let mut each: Vec<(&mut Tracked, &Access, &ProcessLayout)> = Vec::new();
        for (pid, tracked) in &mut self.processes {
            let process = layout.processes.iter().find(|p| p.node.pid == *pid);
            if let (Some(access), Some(process)) = (open.get(pid), process) {
                each.push((tracked, access, process));
            }
        }
        soft_dirty::look(&mut each)?;
        for (tracked, _, process) in &each {
            tracked.register(&process.mappings);
        }
        soft_dirty::arm(&mut each);
        Ok(())
    }

    /// Sends what was written since the time it was armed last, or all of what is not tracked yet.
    pub(crate) fn send(
        &mut self,
        open: &HashMap<i32, Access>,
        layout: &Layout,
        sender: &mut Sender<'_>,
    ) -> Result<(), Error> {
        sender.inheritance = std::mem::take(&mut self.inheritance);
        sender.inheritance.told(layout, open, !sender.running);
        let sent = self.send_each(open, layout, sender);
        self.inheritance = std::mem::take(&mut sender.inheritance);
        sent
    }

    fn send_each(
        &mut self,
        open: &HashMap<i32, Access>,
        layout: &Layout,
        sender: &mut Sender<'_>,
    ) -> Result<(), Error> {
        for process in &layout.processes {
            let pid = process.node.pid;
            let Some(access) = open.get(&pid) else { continue };
            let sent = match self.processes.get_mut(&pid) {
                Some(tracked) => tracked.send(access, process, sender),
                None => sender.process(access, process),
            };
            // One that ended meanwhile is not in the next layout.
            if sent.is_err() && sender.running && !is_alive(access.host()) {
                continue;
            }
            sent?;
        }
        Ok(())
    }

    pub(crate) fn rings(&self) -> &HashSet<i32> {
        &self.rings
    }

    pub(crate) fn take_objects(&mut self) -> Objects {
        std::mem::take(&mut self.objects)
    }

    pub(crate) fn give_objects(&mut self, objects: Objects) {
        self.objects = objects;
    }
}

/// Processes that have a ring of asynchronous I/O.
pub(crate) fn with_rings(layout: &Layout) -> impl Iterator<Item = i32> {
    let rings = layout.processes.iter().filter(|p| p.mappings.iter().any(|m| m.backing == Backing::Ring));
    rings.map(|p| p.node.pid)
}

fn is_alive(host: i32) -> bool {
    roam_sys::procfs::stat::read(host).is_ok_and(|s| s.state != b'Z' && s.state != b'X')
}

/// Shared memory and the kernel's own areas are not tracked.
fn trackable(mapping: &Mapping) -> bool {
    !mapping.shared && mapping.backing != Backing::Jumps
}

impl Tracked {
    /// Registers all that can be; the process must stand still.
    fn register(&self, mappings: &[Mapping]) {
        let registered = |m: &&Mapping| match self.notes {
            Notes::Asynchronous => trackable(m),
            // No others can be there, and one that can't keeps its neighbours from it.
            Notes::SoftDirty(_) => trackable(m) && m.backing == Backing::Anonymous,
        };
        for span in spans(mappings.iter().filter(registered)) {
            if self.uffd.register(span.start, span.end).is_ok() {
                continue;
            }
            // One of them can't be: it is sent whole each time.
            for m in mappings.iter().filter(registered).filter(|m| span.start <= m.start && m.end <= span.end)
            {
                let _ = self.uffd.register(m.start, m.end);
            }
        }
    }

    fn send(
        &mut self,
        access: &Access,
        process: &ProcessLayout,
        sender: &mut Sender<'_>,
    ) -> Result<(), Error> {
        let pid = process.node.pid;
        let found = self.find(access, process, sender.running)?;
        // Dropped by madvise, or mapped anew: it reads as new again.
        let here = runs::intersection(&self.sent, &places(process));
        for gone in runs::difference(&here, &found.own) {
            sender.sink.forget(Space::Process(pid), gone.start, gone.end - gone.start)?;
        }
        let again = sender.again.contains(&pid);
        let known = if again { Vec::new() } else { self.known(&process.mappings) };
        let there = runs::intersection(&known, &self.sent);
        let kept = runs::intersection(&found.own, &runs::difference(&there, &found.changed));
        let wanted = runs::difference(&found.own, &kept);
        sender.inheritance.begin(access, process, &kept, &wanted);
        let wanted = sender.not_inherited(access, process, wanted)?;
        for mapping in process.mappings.iter().filter(|m| !trackable(m)) {
            sender.untracked(access, pid, mapping)?;
        }
        let again = runs::intersection(&wanted, &self.sent);
        let fresh = runs::difference(&wanted, &self.sent);
        for mapping in process.mappings.iter().filter(|m| trackable(m)) {
            let whole = Run { start: mapping.start, end: mapping.end };
            sender.runs(access, pid, mapping.prot, &runs::within(&again, whole))?;
            sender.fresh_runs(access, pid, mapping, &runs::within(&fresh, whole))?;
        }
        self.armed.clone_from(&process.mappings);
        self.sent = found.own;
        Ok(())
    }

    /// What there is to send, and armed again if it runs.
    fn find(&mut self, access: &Access, process: &ProcessLayout, running: bool) -> Result<Found, Error> {
        let io = |e| looking(process.node.pid, e);
        match &mut self.notes {
            Notes::Asynchronous => {
                let (pagemap, places) = (&access.pagemap, places(process));
                // A session that stands still writes nothing more: there is nothing to arm.
                let written =
                    if running { pagemap.written_and_rearm(&places).map_err(io)? } else { Vec::new() };
                // Looked at after arming: a page that appears in between is noted as written.
                let found = pagemap.survey(&places).map_err(io)?;
                Ok(Found { own: found.own, changed: runs::union(&written, &found.changed) })
            }
            Notes::SoftDirty(bits) => {
                if !running {
                    bits.look(access, process).map_err(io)?;
                }
                Ok(bits.found(access, process))
            }
        }
    }

    /// Where the same was mapped in the last round.
    fn known(&self, mappings: &[Mapping]) -> Vec<Run> {
        let mut known = Vec::new();
        let mut first = 0;
        for new in mappings.iter().filter(|m| trackable(m)) {
            while self.armed.get(first).is_some_and(|old| old.end <= new.start) {
                first += 1;
            }
            for old in self.armed[first..].iter().take_while(|old| old.start < new.end) {
                let (start, end) = (old.start.max(new.start), old.end.min(new.end));
                if trackable(old) && old.backing_at(start) == new.backing_at(start) {
                    push(&mut known, Run { start, end });
                }
            }
        }
        known
    }
}

fn looking(pid: i32, error: std::io::Error) -> Error {
    Error::system(format!("looking for the written pages of process {pid}"), error)
}

/// Where a process's writes are tracked.
fn places(process: &ProcessLayout) -> Vec<Run> {
    spans(process.mappings.iter().filter(|m| trackable(m)))
}

/// Mappings that touch, as one run each.
fn spans<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Vec<Run> {
    let mut spans = Vec::new();
    for m in mappings {
        push(&mut spans, Run { start: m.start, end: m.end });
    }
    spans
}

/// Gives a frozen process a userfaultfd and takes it out of its descriptor table.
fn install(process: &FrozenProcess, purpose: Purpose) -> Result<Registrar, Error> {
    let pid = process.node.pid;
    let io = |e: std::io::Error| Error::system(format!("tracking the writes of process {pid}"), e);
    let inject = |e: InjectError| {
        Error::system(format!("tracking the writes of process {pid}"), std::io::Error::other(e.to_string()))
    };
    let leader = process.threads[0].tracee;
    let _raised = Raised::take(process.host, &[libc::RLIMIT_NOFILE]);
    let borrowed = Borrowed::take(leader, process.host).map_err(io)?;
    let made = (|| -> Result<OwnedFd, Error> {
        let fd = roam_sys::inject::must(
            "userfaultfd",
            borrowed
                .call(libc::SYS_userfaultfd, [uffd::FLAGS, 0, 0, 0, 0, 0], Some(libc::SYS_close))
                .map_err(inject)?,
        )
        .map_err(|source| Error::Call { pid, source })?;
        let ours = pidfd_open(Pid::from_raw(process.host)).and_then(|p| pidfd_getfd(p.as_fd(), fd as i32));
        borrowed.call(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0], None).map_err(inject)?;
        ours.map_err(io)
    })();
    borrowed.give_back().map_err(io)?;
    Registrar::new(made?, purpose).map_err(io)
}
