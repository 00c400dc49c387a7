//! Which pages a running session writes, for sending its memory ahead.
//!
//! Each process is given a userfaultfd with asynchronous write protection (Linux 6.7): the kernel notes
//! the first write to each page and PAGEMAP_SCAN reads and re-arms in one call. Where that
//! is missing there is nothing to track and everything is sent at the end.
//!
//! Pages of areas that are not registered (made since, moved by mremap, inherited by a fork) count as
//! written, and so does what lies where something else was mapped in the last round.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;
use roam_sys::borrowed::Borrowed;
use roam_sys::descriptor::{pidfd_getfd, pidfd_open};
use roam_sys::inject::InjectError;
use roam_sys::limits::Raised;
use roam_sys::runs::{self, Run, push};
use roam_sys::uffd::{self, WriteTracker};

use crate::error::Error;
use crate::freeze::{FrozenProcess, freeze};
use crate::kinds::memory::{Builder, ObjectViews};
use crate::kinds::memory_send::{Access, Sender};
use crate::kinds::object_pages::ObjectPages;
use crate::kinds::resident;
use crate::objects::Objects;
use crate::pages::{Backing, Layout, Mapping, PageSink, PageStats, ProcessLayout, Space};
use crate::pod::Pod;

/// Tracks the writes of a session's processes.
pub struct Tracker {
    processes: HashMap<i32, Tracked>,
    objects: Objects,
    /// What the target has of them.
    shown: ObjectPages,
}

struct Tracked {
    uffd: WriteTracker,
    /// The mappings of the last round: within them, what is not noted as written was sent.
    armed: Vec<Mapping>,
    /// Which of their pages the target has.
    sent: Vec<Run>,
}

/// Whether this kernel can track writes.
#[must_use]
pub fn supported() -> bool {
    uffd::async_write_protection_supported() && roam_sys::pagemap::scan_supported()
}

impl Tracker {
    /// Begins to track: the session is stopped for a moment.
    ///
    /// # Errors
    /// If it can't be stopped, or the kernel can't track ([`supported`]).
    pub fn start(pod: &dyn Pod) -> Result<Self, Error> {
        if !supported() {
            return Err(Error::system(
                "tracking writes",
                std::io::Error::from_raw_os_error(libc::EOPNOTSUPP),
            ));
        }
        let frozen = freeze(pod)?;
        let mut processes = HashMap::new();
        for process in frozen.living() {
            let uffd = install(process)?;
            processes.insert(process.node.pid, Tracked { uffd, armed: Vec::new(), sent: Vec::new() });
        }
        frozen.thaw();
        Ok(Self { processes, objects: Objects::default(), shown: ObjectPages::default() })
    }

    /// A round while the session runs: the layout as it is now, then what was written since the last
    /// round (in the first round: everything).
    ///
    /// # Errors
    /// If it can't be read, or the sink does not take it.
    pub fn round(&mut self, pod: &dyn Pod, sink: &mut dyn PageSink) -> Result<PageStats, Error> {
        // The tree and the maps must be of one moment; stopping costs less than being wrong.
        let frozen = freeze(pod)?;
        let open = frozen.open_memory()?;
        let mut builder = Builder::new(pod, &mut self.objects);
        for process in &frozen.processes {
            builder.add(process.host, &process.name, process.node)?;
        }
        let (layout, views) = builder.finish();
        for process in frozen.living() {
            if let Entry::Vacant(place) = self.processes.entry(process.node.pid) {
                place.insert(Tracked { uffd: install(process)?, armed: Vec::new(), sent: Vec::new() });
            }
        }
        // Only while the maps are what they are known to be: registering a range that has changed would
        // split the program's areas under it.
        for process in &layout.processes {
            if let Some(tracked) = self.processes.get(&process.node.pid) {
                tracked.register(&process.mappings);
            }
        }
        let there = resident::all(&frozen, &self.objects, &views)?;
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

    /// Sends what was written since the last time, or all of what is not tracked yet, and arms it.
    pub(crate) fn send(
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

    pub(crate) fn take_objects(&mut self) -> Objects {
        std::mem::take(&mut self.objects)
    }

    pub(crate) fn give_objects(&mut self, objects: Objects) {
        self.objects = objects;
    }
}

fn is_alive(host: i32) -> bool {
    roam_sys::procfs::stat::read(host).is_ok_and(|s| s.state != b'Z' && s.state != b'X')
}

/// Shared memory and the kernel's own areas are not tracked.
fn trackable(mapping: &Mapping) -> bool {
    !mapping.shared && mapping.backing != Backing::Jumps
}

impl Tracked {
    /// Has the kernel note writes to all that can be tracked; the process must stand still.
    fn register(&self, mappings: &[Mapping]) {
        for span in spans(mappings.iter().filter(|m| trackable(m))) {
            if self.uffd.register(span.start, span.end).is_ok() {
                continue;
            }
            // One of them can't be: it is sent whole each time.
            for m in mappings.iter().filter(|m| trackable(m) && span.start <= m.start && m.end <= span.end) {
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
        let pagemap = &access.pagemap;
        for mapping in process.mappings.iter().filter(|m| !trackable(m)) {
            sender.untracked(access, pid, mapping)?;
        }
        let places = spans(process.mappings.iter().filter(|m| trackable(m)));
        let io = |e| Error::system(format!("looking for the written pages of process {pid}"), e);
        // A session that stands still writes nothing more: there is nothing to arm.
        let written =
            if sender.running { pagemap.written_and_rearm(&places).map_err(io)? } else { Vec::new() };
        // Looked at after arming: a page that appears in between is noted as written.
        let found = pagemap.survey(&places).map_err(io)?;
        // Dropped by madvise, or mapped anew: it reads as new again.
        let here = runs::intersection(&self.sent, &places);
        for gone in runs::difference(&here, &found.own) {
            sender.sink.forget(Space::Process(pid), gone.start, gone.end - gone.start)?;
        }
        let changed = runs::union(&written, &found.changed);
        let unchanged = runs::difference(&self.known(&process.mappings), &changed);
        let wanted = runs::difference(&found.own, &unchanged);
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

/// Mappings that touch, as one run each.
fn spans<'a>(mappings: impl Iterator<Item = &'a Mapping>) -> Vec<Run> {
    let mut spans = Vec::new();
    for m in mappings {
        push(&mut spans, Run { start: m.start, end: m.end });
    }
    spans
}

/// Gives a frozen process a userfaultfd and takes it out of its descriptor table.
fn install(process: &FrozenProcess) -> Result<WriteTracker, Error> {
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
    WriteTracker::new(made?).map_err(io)
}
