//! Sending the pages of memory: those a process has for itself, and the bytes of shared objects.

use std::io;
use std::ops::Range;

use roam_sys::memory::{self, MemFile};
use roam_sys::pagemap::Pagemap;
use roam_sys::runs::{self, Run};

use crate::error::Error;
use crate::kinds::memory::{ObjectViews, View};
use crate::objects::{Object, ObjectId, Objects};
use crate::pages::{Backing, Mapping, PAGE, PageSink, PageStats, ProcessLayout, Space};

/// Bytes read and sent at a time.
const CHUNK: u64 = 1 << 20;

/// A process whose memory is read. It is opened while the process is frozen and readable, and serves when it
/// runs again as well.
pub struct Access {
    host: i32,
    /// Its page map.
    pub pagemap: Pagemap,
    memory: MemFile,
}

impl Access {
    /// Opens what is needed.
    ///
    /// # Errors
    /// If the process is gone or keeps its memory to itself.
    pub fn open(host: i32) -> Result<Self, Error> {
        let io = |e| Error::system(format!("opening the memory of process {host}"), e);
        Ok(Self { host, pagemap: open_pagemap(host)?, memory: MemFile::open(host).map_err(io)? })
    }

    /// The process, as the keeper sees it.
    #[must_use]
    pub fn host(&self) -> i32 {
        self.host
    }

    fn read(&self, address: u64, into: &mut [u8], prot: i32) -> io::Result<()> {
        if prot & libc::PROT_READ != 0 && memory::read(self.host, address, into).is_ok() {
            return Ok(());
        }
        self.memory.read(address, into)
    }
}

/// Sends the pages of private mappings: all the process has for itself, or only `runs` of them.
pub struct Sender<'a> {
    /// Where to.
    pub sink: &'a mut dyn PageSink,
    /// What was sent.
    pub stats: PageStats,
    /// The processes run meanwhile, so that what was there a moment ago may be gone.
    pub running: bool,
    buffer: Vec<u8>,
}

impl<'a> Sender<'a> {
    /// A sender to this sink.
    pub fn new(sink: &'a mut dyn PageSink) -> Self {
        Self { sink, stats: PageStats::default(), running: false, buffer: Vec::new() }
    }

    /// All own pages of one process.
    ///
    /// # Errors
    /// If they can't be read or taken.
    pub fn process(&mut self, access: &Access, layout: &ProcessLayout) -> Result<(), Error> {
        if layout.mappings.is_empty() {
            return Ok(());
        }
        let pid = layout.node.pid;
        let whole = |m: &Mapping| Run { start: m.start, end: m.end };
        let private: Vec<Run> = layout.mappings.iter().filter(|m| !m.shared).map(whole).collect();
        let own = access
            .pagemap
            .own_pages(&private)
            .map_err(|e| Error::system(format!("looking for the pages of process {pid}"), e))?;
        for mapping in &layout.mappings {
            if mapping.shared || mapping.backing == Backing::Jumps {
                self.untracked(access, pid, mapping)?;
            } else {
                self.fresh_runs(access, pid, mapping, &runs::within(&own, whole(mapping)))?;
            }
        }
        Ok(())
    }

    /// A mapping whose pages are not the process's own: jumps are the kernel's page, which the page map does
    /// not show, and shared memory goes with its object.
    ///
    /// # Errors
    /// If it can't be read or taken.
    pub fn untracked(&mut self, access: &Access, pid: i32, mapping: &Mapping) -> Result<(), Error> {
        if mapping.backing != Backing::Jumps {
            return Ok(());
        }
        self.runs(access, pid, mapping.prot, &[Run { start: mapping.start, end: mapping.end }])
    }

    /// These runs of pages of a mapping, of which the target has none yet: where it is new memory there, pages
    /// of zeros are there already (a quarter of a session with a screen).
    ///
    /// # Errors
    /// If they can't be read or taken.
    pub fn fresh_runs(
        &mut self,
        access: &Access,
        pid: i32,
        mapping: &Mapping,
        runs: &[Run],
    ) -> Result<(), Error> {
        self.some_runs(access, pid, mapping.prot, runs, mapping.backing == Backing::Anonymous)
    }

    /// These runs of pages.
    ///
    /// # Errors
    /// If they can't be read or taken.
    pub fn runs(&mut self, access: &Access, pid: i32, prot: i32, runs: &[Run]) -> Result<(), Error> {
        self.some_runs(access, pid, prot, runs, false)
    }

    fn some_runs(
        &mut self,
        access: &Access,
        pid: i32,
        prot: i32,
        runs: &[Run],
        without_zeros: bool,
    ) -> Result<(), Error> {
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let len = (run.end - at).min(CHUNK);
                self.buffer.resize(len as usize, 0);
                match access.read(at, &mut self.buffer, prot) {
                    Ok(()) => {}
                    // Unmapped since the layout was read: the next round knows. Its neighbours still count.
                    Err(_) if self.running && len > PAGE => {
                        let pages: Vec<Run> = (at..at + len)
                            .step_by(PAGE as usize)
                            .map(|page| Run { start: page, end: page + PAGE })
                            .collect();
                        self.some_runs(access, pid, prot, &pages, without_zeros)?;
                        at += len;
                        continue;
                    }
                    Err(_) if self.running => {
                        at += len;
                        continue;
                    }
                    Err(e) => {
                        return Err(Error::system(format!("reading memory of process {pid} at {at:x}"), e));
                    }
                }
                if without_zeros {
                    self.without_zeros(Space::Process(pid), at)?;
                } else {
                    self.part(Space::Process(pid), at, 0..len as usize)?;
                }
                at += len;
            }
        }
        Ok(())
    }

    /// The bytes of all shared objects.
    ///
    /// # Errors
    /// If they can't be read or taken.
    pub fn objects(&mut self, objects: &Objects, views: &ObjectViews) -> Result<(), Error> {
        for (id, object, file) in objects.iter() {
            if let Some(file) = file {
                self.object_file(id, object, file)?;
                continue;
            }
            let views = views.get(&id).map_or(&[][..], Vec::as_slice);
            // Pages that a process wrote privately say nothing of the object, so they come first and only
            // stay where nobody shows anything else.
            for view in views.iter().filter(|view| !view.shared) {
                self.view_runs(id, view, &own_of(view)?)?;
            }
            for view in views {
                let whole = [Run { start: view.address, end: view.address + view.len }];
                let shown =
                    if view.shared { whole.to_vec() } else { runs::difference(&whole, &own_of(view)?) };
                self.view_runs(id, view, &shown)?;
            }
        }
        Ok(())
    }

    /// These runs of a view, as far as the object goes.
    fn view_runs(&mut self, id: ObjectId, view: &View, runs: &[Run]) -> Result<(), Error> {
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let mut len = (run.end - at).min(CHUNK);
                self.buffer.resize(len as usize, 0);
                if read_any(view.host, at, &mut self.buffer, 0).is_err() {
                    // The object ends in between: page by page up to there.
                    len = PAGE;
                    self.buffer.resize(len as usize, 0);
                    if read_any(view.host, at, &mut self.buffer, 0).is_err() {
                        break;
                    }
                }
                self.without_zeros(Space::Object(id), view.offset + (at - view.address))?;
                at += len;
            }
        }
        Ok(())
    }

    fn object_file(
        &mut self,
        id: ObjectId,
        object: &Object,
        file: &std::os::fd::OwnedFd,
    ) -> Result<(), Error> {
        use std::os::unix::fs::FileExt;
        let io = |e| Error::system("reading shared memory", e);
        let file = std::fs::File::from(file.try_clone().map_err(io)?);
        let mut at = 0;
        while at < object.size {
            let part = (object.size - at).min(CHUNK);
            self.buffer.resize(part.next_multiple_of(PAGE) as usize, 0);
            self.buffer.fill(0);
            let mut got = 0;
            while got < part as usize {
                match file.read_at(&mut self.buffer[got..part as usize], at + got as u64).map_err(io)? {
                    0 => break,
                    n => got += n,
                }
            }
            self.without_zeros(Space::Object(id), at)?;
            at += part;
        }
        Ok(())
    }

    /// Sends the buffer's pages that are not all zero, for memory that is new at the target.
    fn without_zeros(&mut self, space: Space, address: u64) -> Result<(), Error> {
        let mut start = 0;
        let mut wanted = false;
        for at in (0..self.buffer.len()).step_by(PAGE as usize) {
            let is_wanted = !is_zero(&self.buffer[at..at + PAGE as usize]);
            if is_wanted != wanted {
                if wanted {
                    self.part(space, address, start..at)?;
                }
                (start, wanted) = (at, is_wanted);
            }
        }
        if wanted { self.part(space, address, start..self.buffer.len()) } else { Ok(()) }
    }

    /// Sends a part of the buffer, which begins at this address.
    fn part(&mut self, space: Space, address: u64, part: Range<usize>) -> Result<(), Error> {
        let len = part.len() as u64;
        self.sink.pages(space, address + part.start as u64, &self.buffer[part])?;
        self.stats.pages += len / PAGE;
        self.stats.bytes += len;
        Ok(())
    }
}

/// By whole lines of the cache, which compilers look at with wide registers.
fn is_zero(page: &[u8]) -> bool {
    page.chunks_exact(64).all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Opens a process's page map.
///
/// # Errors
/// If it is gone.
fn open_pagemap(host: i32) -> Result<Pagemap, Error> {
    Pagemap::open(host).map_err(|e| Error::system(format!("opening the page map of process {host}"), e))
}

fn own_of(view: &View) -> Result<Vec<Run>, Error> {
    open_pagemap(view.host)?
        .own_pages(&[Run { start: view.address, end: view.address + view.len }])
        .map_err(|e| Error::system("looking for the pages of a shared object", e))
}

pub(super) fn read_any(host: i32, address: u64, into: &mut [u8], prot: i32) -> io::Result<()> {
    if prot & libc::PROT_READ != 0 && memory::read(host, address, into).is_ok() {
        return Ok(());
    }
    MemFile::open(host)?.read(address, into)
}
