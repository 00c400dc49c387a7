//! Sending the pages of memory: those a process has for itself, and the bytes of shared objects.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::unistd::{Whence, lseek};
use roam_sys::memory::{self, MemFile};
use roam_sys::pagemap::Pagemap;
use roam_sys::runs::{self, Run};

use crate::error::Error;
use crate::kinds::inheritance::Inheritance;
use crate::kinds::memory::{Areas, ObjectViews, View};
use crate::kinds::object_pages::{ObjectPages, known};
use crate::kinds::resident::There;
use crate::objects::{Object, ObjectId, Objects};
use crate::pages::{Backing, Mapping, PAGE, PageSink, PageStats, ProcessLayout, Space};

/// Bytes read and sent at a time.
const CHUNK: u64 = 1 << 20;

/// A process whose memory is read. It is opened while the process is frozen and readable, and serves when it
/// runs again as well.
pub struct Access {
    host: i32,
    /// What is known of its areas.
    pub areas: Areas,
    /// Its page map.
    pub pagemap: Pagemap,
    memory: MemFile,
}

impl Access {
    /// Opens what is needed.
    ///
    /// # Errors
    /// If the process is gone or keeps its memory to itself.
    pub fn open(host: i32, areas: Areas) -> Result<Self, Error> {
        let io = |e| Error::system(format!("opening the memory of process {host}"), e);
        let (pagemap, memory) = (open_pagemap(host)?, MemFile::open(host).map_err(io)?);
        Ok(Self { host, areas, pagemap, memory })
    }

    /// What the process has for itself in these of its mappings, whole pages.
    fn own(&self, process: &ProcessLayout, places: &[Run]) -> io::Result<Vec<Run>> {
        if self.pagemap.scans() {
            return self.pagemap.own_pages(places);
        }
        let found = self.pagemap.entries(&runs::intersection(places, &self.areas.populated))?;
        Ok(self.without_zero_page(process, &found.own, &found.shared))
    }

    /// These own pages without those that show the zero page. Only pages among `shared` can: one of anonymous memory
    /// that reads as zeros is the zero page, or as good as that.
    pub fn without_zero_page(&self, process: &ProcessLayout, own: &[Run], shared: &[Run]) -> Vec<Run> {
        let mut zeros = Vec::new();
        for mapping in process.mappings.iter().filter(|m| m.backing == Backing::Anonymous) {
            for run in runs::within(shared, Run { start: mapping.start, end: mapping.end }) {
                self.each_page(run, |page, bytes| {
                    if is_zero(bytes) {
                        runs::push(&mut zeros, Run { start: page, end: page + PAGE });
                    }
                });
            }
        }
        runs::difference(own, &zeros)
    }

    /// Shows each page of a run that can be read, in their order. Whoever has them as well keeps them in common.
    pub fn each_page(&self, run: Run, mut see: impl FnMut(u64, &[u8])) {
        self.each_of(run, &mut Vec::new(), &mut see);
    }

    fn each_of(&self, run: Run, buffer: &mut Vec<u8>, see: &mut impl FnMut(u64, &[u8])) {
        let mut at = run.start;
        while at < run.end {
            let len = (run.end - at).min(CHUNK);
            buffer.resize(len as usize, 0);
            if self.memory.read(at, buffer).is_ok() {
                for (page, bytes) in (at..).step_by(PAGE as usize).zip(buffer.chunks_exact(PAGE as usize)) {
                    see(page, bytes);
                }
            } else if len > PAGE {
                // One that is gone says nothing of its neighbours.
                let middle = at + (len / 2).next_multiple_of(PAGE);
                self.each_of(Run { start: at, end: middle }, buffer, see);
                self.each_of(Run { start: middle, end: at + len }, buffer, see);
            }
            at += len;
        }
    }

    /// Which of these pages others have as well, as far as that can be seen.
    pub fn in_common(&self, pages: &[Run]) -> Vec<Run> {
        // Who has ended has nothing in common with anybody.
        self.pagemap.entries(pages).map(|entries| entries.shared).unwrap_or_default()
    }

    /// Writes a page as it is, whatever its protection.
    ///
    /// # Errors
    /// EIO where nothing is mapped.
    pub fn rewrite(&self, page: u64) -> io::Result<()> {
        let mut byte = [0];
        self.memory.read(page, &mut byte)?;
        self.memory.write(page, &byte)
    }

    /// The process, as the keeper sees it.
    #[must_use]
    pub fn host(&self) -> i32 {
        self.host
    }

    /// Reads memory, and if the program may read it (`prot`), by the faster way.
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
    /// What the target has of shared objects.
    pub shown: ObjectPages,
    /// What is there of the objects that views show, by the view's process and address; all of it if nothing is said.
    pub there: There,
    /// What the target has of parents.
    pub inheritance: Inheritance,
    /// Processes of which all that was sent before is sent again.
    pub again: HashSet<i32>,
    buffer: Vec<u8>,
}

impl<'a> Sender<'a> {
    /// A sender to this sink.
    pub fn new(sink: &'a mut dyn PageSink) -> Self {
        Self {
            sink,
            stats: PageStats::default(),
            running: false,
            shown: ObjectPages::default(),
            there: There::new(),
            inheritance: Inheritance::default(),
            again: HashSet::new(),
            buffer: Vec::new(),
        }
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
            .own(layout, &private)
            .map_err(|e| Error::system(format!("looking for the pages of process {pid}"), e))?;
        self.inheritance.begin(access, layout, &[], &own);
        let own = self.not_inherited(access, layout, own)?;
        for mapping in &layout.mappings {
            if mapping.shared || mapping.backing == Backing::Jumps {
                self.untracked(access, pid, mapping)?;
            } else {
                self.fresh_runs(access, pid, mapping, &runs::within(&own, whole(mapping)))?;
            }
        }
        Ok(())
    }

    /// Says which of its pages a new process has of its parent; returns the others. Nothing of it was sent before.
    ///
    /// # Errors
    /// If that can't be taken.
    pub fn not_inherited(
        &mut self,
        access: &Access,
        layout: &ProcessLayout,
        pages: Vec<Run>,
    ) -> Result<Vec<Run>, Error> {
        let Some((from, same)) = self.inheritance.of_parent(access, layout, &pages) else { return Ok(pages) };
        for run in &same {
            self.sink.inherited(layout.node.pid, from, run.start, run.end - run.start)?;
        }
        Ok(runs::difference(&pages, &same))
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
                // The faster way would have each process get copies of its own.
                let common = self.inheritance.is_in_common(Run { start: at, end: at + len });
                let prot = if common { libc::PROT_NONE } else { prot };
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

    /// The bytes of all shared objects that the target does not have. While the session runs, what can't be read
    /// any more is left for the next time.
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
            if self.running {
                self.touched(id, views)?;
                continue;
            }
            // What one shows the others need not: a server's shared memory is mapped by all its processes.
            let mut shown = Vec::new();
            for view in views {
                let own = if view.shared { Vec::new() } else { own_of(view)? };
                let new = runs::difference(&runs::difference(&[view.part()], &own), &shown);
                match self.there.get(&(view.host, view.address)) {
                    Some(there) => {
                        let (data, holes) = (runs::intersection(&new, there), runs::difference(&new, there));
                        self.view_runs(id, view, &data)?;
                        self.emptied(id, &holes)?;
                    }
                    None => self.view_runs(id, view, &new)?,
                }
                shown = runs::union(&shown, &new);
            }
            // Pages that a process wrote privately say nothing of the object: only where nobody shows it.
            for view in views.iter().filter(|view| !view.shared) {
                let new = runs::difference(&own_of(view)?, &shown);
                self.view_runs(id, view, &new)?;
                shown = runs::union(&shown, &new);
            }
        }
        Ok(())
    }

    /// What is there of an object, or somebody has of it: reading the rest would make the kernel give memory for it,
    /// which only the end can't do without.
    fn touched(&mut self, id: ObjectId, views: &[View]) -> Result<(), Error> {
        let mut shown = Vec::new();
        for view in views.iter().filter(|view| view.shared) {
            let there = match self.there.get(&(view.host, view.address)) {
                Some(there) => there.clone(),
                // Who ended meanwhile shows nothing.
                None => Pagemap::open(view.host)
                    .and_then(|pagemap| pagemap.touched(&[view.range()]))
                    .map(|touched| view.inside(&touched))
                    .unwrap_or_default(),
            };
            let new = runs::difference(&there, &shown);
            self.view_runs(id, view, &new)?;
            shown = runs::union(&shown, &new);
        }
        Ok(())
    }

    /// These runs of the object as a view shows them, as far as the object goes.
    fn view_runs(&mut self, id: ObjectId, view: &View, runs: &[Run]) -> Result<(), Error> {
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let address = view.address + (at - view.offset);
                let mut len = (run.end - at).min(CHUNK);
                self.buffer.resize(len as usize, 0);
                if read_any(view.host, address, &mut self.buffer, view.prot).is_err() {
                    // The object ends in between: page by page up to there.
                    len = PAGE;
                    self.buffer.resize(len as usize, 0);
                    if read_any(view.host, address, &mut self.buffer, view.prot).is_err() {
                        break;
                    }
                }
                self.object_part(id, at)?;
                at += len;
            }
        }
        Ok(())
    }

    fn object_file(&mut self, id: ObjectId, object: &Object, file: &OwnedFd) -> Result<(), Error> {
        let io = |e| Error::system("reading shared memory", e);
        let (file, data) = data_of(file, object.size).map_err(io)?;
        for run in &data {
            let mut at = run.start;
            while at < run.end {
                let part = self.empty_buffer(run.end - at);
                let mut got = 0;
                // The last page is zero behind the end.
                while got < part {
                    match file.read_at(&mut self.buffer[got..], at + got as u64).map_err(io)? {
                        0 => break,
                        n => got += n,
                    }
                }
                self.object_part(id, at)?;
                at += part as u64;
            }
        }
        self.emptied(id, &runs::difference(&[Run { start: 0, end: u64::MAX }], &data))
    }

    /// These parts of an object are zero now: sent where they were not.
    fn emptied(&mut self, id: ObjectId, holes: &[Run]) -> Result<(), Error> {
        for emptied in runs::intersection(&self.shown.filled(id), holes) {
            let mut at = emptied.start;
            while at < emptied.end {
                let part = self.empty_buffer(emptied.end - at);
                self.object_part(id, at)?;
                at += part as u64;
            }
        }
        Ok(())
    }

    /// So many zeros, at most a chunk of them.
    fn empty_buffer(&mut self, len: u64) -> usize {
        self.buffer.clear();
        self.buffer.resize(len.min(CHUNK) as usize, 0);
        self.buffer.len()
    }

    /// Sends the buffer's pages that are not what the target has.
    fn object_part(&mut self, id: ObjectId, offset: u64) -> Result<(), Error> {
        let first = offset / PAGE;
        let pages: Vec<_> = self.buffer.chunks(PAGE as usize).map(known).collect();
        let mut start = None;
        for page in 0..=pages.len() {
            let wanted = pages.get(page).is_some_and(|now| *now != self.shown.at(id, first + page as u64));
            match (wanted, start) {
                (true, None) => start = Some(page),
                (false, Some(from)) => {
                    self.part(Space::Object(id), offset, from * PAGE as usize..page * PAGE as usize)?;
                    self.shown.sent(id, first + from as u64, &pages[from..page]);
                    start = None;
                }
                _ => {}
            }
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
        let (start, len) = (address + part.start as u64, part.len() as u64);
        if let Space::Process(pid) = space {
            self.inheritance.note(pid, start, &self.buffer[part.clone()]);
        }
        self.sink.pages(space, start, &self.buffer[part])?;
        self.stats.pages += len / PAGE;
        self.stats.bytes += len;
        Ok(())
    }
}

/// By whole lines of the cache, which compilers look at with wide registers.
pub(super) fn is_zero(page: &[u8]) -> bool {
    page.chunks_exact(64).all(|line| line.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Where in the object the view's process has pages of its own instead.
fn own_of(view: &View) -> Result<Vec<Run>, Error> {
    let own = open_pagemap(view.host)?
        .own_pages(&[view.range()])
        .map_err(|e| Error::system("looking for the pages of a shared object", e))?;
    Ok(view.inside(&own))
}

/// The file to be read, and which pages of it are more than holes.
fn data_of(file: &OwnedFd, size: u64) -> io::Result<(File, Vec<Run>)> {
    let all = Run { start: 0, end: size.next_multiple_of(PAGE) };
    let whole = || Ok((File::from(file.try_clone()?), vec![all]));
    // Who opened it again would break the program's lease on it.
    if roam_sys::descriptor::fcntl(file.as_fd(), libc::F_GETLEASE, 0)
        .is_ok_and(|lease| lease == libc::F_WRLCK)
    {
        return whole();
    }
    // Looking for holes moves the position, which is the program's in a duplicate of its descriptor.
    let Ok(own) = roam_sys::descriptor::reopen(file.as_fd(), libc::O_RDONLY) else { return whole() };
    let own = File::from(own);
    let seek = |from: u64, to: Whence| lseek(&own, from.cast_signed(), to).map(i64::cast_unsigned);
    let (mut data, mut at) = (Vec::new(), 0);
    while at < size {
        match seek(at, Whence::SeekData) {
            Ok(start) if start < size => {
                let Ok(end) = seek(start, Whence::SeekHole) else { return whole() };
                let run = Run { start: start / PAGE * PAGE, end: end.next_multiple_of(PAGE).min(all.end) };
                at = run.end.max(start + 1);
                data.push(run);
            }
            Ok(_) | Err(nix::errno::Errno::ENXIO) => break,
            Err(_) => return whole(),
        }
    }
    Ok((own, data))
}

/// Opens a process's page map.
///
/// # Errors
/// If it is gone.
fn open_pagemap(host: i32) -> Result<Pagemap, Error> {
    Pagemap::open(host).map_err(|e| Error::system(format!("opening the page map of process {host}"), e))
}

pub(super) fn read_any(host: i32, address: u64, into: &mut [u8], prot: i32) -> io::Result<()> {
    if prot & libc::PROT_READ != 0 && memory::read(host, address, into).is_ok() {
        return Ok(());
    }
    MemFile::open(host)?.read(address, into)
}
