//! Which pages a running session writes, for sending its memory ahead.
//!
//! Each process is given a userfaultfd with asynchronous write protection (Linux 6.7): the kernel notes
//! the first write to each page and PAGEMAP_SCAN reads and re-arms in one call. Where that
//! is missing there is nothing to track and everything is sent at the end.
//!
//! A mapping that is not registered (made since, moved by mremap, inherited by a fork) is
//! recognised by the kernel's EPERM and sent whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;
use roam_sys::descriptor::{pidfd_getfd, pidfd_open};
use roam_sys::inject::{Borrowed, InjectError, Site};
use roam_sys::pagemap::Run;
use roam_sys::uffd::{self, WriteTracker};

use crate::error::Error;
use crate::freeze::{FrozenProcess, freeze};
use crate::kinds::memory::{self, Builder, Sender};
use crate::objects::Objects;
use crate::pages::{Backing, Layout, Mapping, PageSink, PageStats, ProcessLayout, Space};
use crate::pod::Pod;
use crate::runs;

/// Tracks the writes of a session's processes.
pub struct Tracker {
    processes: HashMap<i32, Tracked>,
    objects: Objects,
}

struct Tracked {
    uffd: WriteTracker,
    /// The mappings that were sent at least once and are armed since, and which pages of them were sent.
    armed: Vec<(Mapping, Vec<Run>)>,
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
            processes.insert(process.node.pid, Tracked { uffd, armed: Vec::new() });
        }
        frozen.thaw();
        Ok(Self { processes, objects: Objects::default() })
    }

    /// A round while the session runs: the layout as it is now, then what was written since the last
    /// round (in the first round: everything).
    ///
    /// # Errors
    /// If it can't be read, or the sink does not take it.
    pub fn round(&mut self, pod: &dyn Pod, sink: &mut dyn PageSink) -> Result<PageStats, Error> {
        // The tree and the maps must be of one moment; stopping costs less than being wrong.
        let frozen = freeze(pod)?;
        let hosts = frozen.hosts();
        let mut builder = Builder::new(pod, &mut self.objects);
        for process in &frozen.processes {
            builder.add(process.host, &process.name, process.node)?;
        }
        let (layout, _) = builder.finish();
        for process in frozen.living() {
            if let Entry::Vacant(place) = self.processes.entry(process.node.pid) {
                place.insert(Tracked { uffd: install(process)?, armed: Vec::new() });
            }
        }
        // Only while the maps are what they are known to be: registering a range that has changed would
        // split the program's areas under it.
        for process in &layout.processes {
            if let Some(tracked) = self.processes.get(&process.node.pid) {
                for mapping in process.mappings.iter().filter(|m| trackable(m)) {
                    let _ = tracked.uffd.register(mapping.start, mapping.end);
                }
            }
        }
        frozen.thaw();
        sink.layout(&layout)?;
        let mut sender = Sender::new(sink);
        sender.running = true;
        self.send(&hosts, &layout, &mut sender)?;
        Ok(sender.stats)
    }

    /// Sends what was written since the last time, or all of what is not tracked yet, and arms it.
    pub(crate) fn send(
        &mut self,
        hosts: &HashMap<i32, i32>,
        layout: &Layout,
        sender: &mut Sender<'_>,
    ) -> Result<(), Error> {
        for process in &layout.processes {
            let pid = process.node.pid;
            let Some(&host) = hosts.get(&pid) else { continue };
            let sent = match self.processes.get_mut(&pid) {
                Some(tracked) => tracked.send(host, process, sender),
                None => sender.process(host, process),
            };
            // One that ended meanwhile is not in the next layout.
            if sent.is_err() && sender.running && !is_alive(host) {
                continue;
            }
            sent?;
        }
        Ok(())
    }

    pub(crate) fn take_objects(&mut self) -> Objects {
        std::mem::take(&mut self.objects)
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
    fn send(&mut self, host: i32, process: &ProcessLayout, sender: &mut Sender<'_>) -> Result<(), Error> {
        let pid = process.node.pid;
        let pagemap = memory::open_pagemap(host)?;
        let mut armed = Vec::with_capacity(process.mappings.len());
        for mapping in &process.mappings {
            if !trackable(mapping) {
                sender.mapping(host, pid, &pagemap, mapping)?;
                continue;
            }
            let known = self.armed.iter().any(|(m, _)| {
                m.start <= mapping.start
                    && mapping.end <= m.end
                    && m.backing_at(mapping.start) == mapping.backing
            });
            // An error: not registered, a mapping made since. It is sent whole until it is.
            let written = pagemap.written_and_rearm(mapping.start, mapping.end);
            // Looked at after arming: a page that appears in between is noted as written.
            let own = pagemap
                .own_pages(mapping.start, mapping.end, false)
                .map_err(|e| Error::system("looking for written pages", e))?;
            let whole = [Run { start: mapping.start, end: mapping.end }];
            let sent = self.armed.iter().flat_map(|(_, runs)| runs::intersection(runs, &whole));
            // Dropped by madvise, or mapped anew: it reads as new again.
            for gone in runs::difference(&sent.collect::<Vec<_>>(), &own) {
                sender.sink.forget(Space::Process(pid), gone.start, gone.end - gone.start)?;
            }
            match written {
                Ok(written) if known => {
                    sender.runs(host, pid, mapping, &runs::intersection(&written, &own))?;
                }
                _ => sender.runs(host, pid, mapping, &own)?,
            }
            armed.push((mapping.clone(), own));
        }
        self.armed = armed;
        Ok(())
    }
}

/// Gives a frozen process a userfaultfd and takes it out of its descriptor table.
fn install(process: &FrozenProcess) -> Result<WriteTracker, Error> {
    let pid = process.node.pid;
    let io = |e: std::io::Error| Error::system(format!("tracking the writes of process {pid}"), e);
    let inject = |e: InjectError| {
        Error::system(format!("tracking the writes of process {pid}"), std::io::Error::other(e.to_string()))
    };
    let leader = process.threads[0].tracee;
    let site = Site::in_vdso(process.host).map_err(io)?;
    let borrowed = Borrowed::take(leader).map_err(io)?;
    let made = (|| -> Result<OwnedFd, Error> {
        let fd = roam_sys::inject::must(
            "userfaultfd",
            site.call(leader, libc::SYS_userfaultfd, [uffd::FLAGS, 0, 0, 0, 0, 0]).map_err(inject)?,
        )
        .map_err(|source| Error::Call { pid, source })?;
        let ours = pidfd_open(Pid::from_raw(process.host)).and_then(|p| pidfd_getfd(p.as_fd(), fd as i32));
        site.call(leader, libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0]).map_err(inject)?;
        ours.map_err(io)
    })();
    borrowed.give_back().map_err(io)?;
    WriteTracker::new(made?).map_err(io)
}
