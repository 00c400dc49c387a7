//! The memory of stubs: mapped as the layout says, filled from outside, in one piece where it was.

use std::collections::hash_map::Entry;

use roam_sys::batch::Batch;
use roam_sys::memory::{self, MemFile};
use roam_sys::procfs::smaps::VmFlags;
use roam_sys::runs::Run;

use super::place::{self, Change};
use super::{Made, Restorer};
use crate::error::Error;
use crate::kinds::memory_traits::filling_protection;
use crate::kinds::sysv;
use crate::objects::{ObjectId, ObjectKind};
use crate::pages::{Backing, Layout, Mapping, ProcessLayout};

impl Restorer {
    /// Maps what the layout says in the processes that are there.
    pub(super) fn map(&mut self, layout: &Layout) -> Result<(), Error> {
        for process in &layout.processes {
            if !self.stubs.contains_key(&process.node.pid) {
                continue;
            }
            let before = self
                .layout
                .processes
                .iter()
                .find(|p| p.node.pid == process.node.pid)
                .map(|p| translated(&p.mappings, &self.layout, layout))
                .unwrap_or_default();
            self.map_process(layout, process, &before)?;
        }
        Ok(())
    }

    /// Maps what a process is to have, where `before` is mapped now.
    pub(super) fn map_process(
        &mut self,
        layout: &Layout,
        process: &ProcessLayout,
        before: &[Mapping],
    ) -> Result<(), Error> {
        let is_segment = |object: ObjectId| {
            layout.objects.get(object.0 as usize).is_some_and(|o| matches!(o.kind, ObjectKind::SysV { .. }))
        };
        let is_plain =
            |m: &&Mapping| !matches!(m.backing, Backing::Object { object, .. } if is_segment(object));
        let wanted: Vec<Mapping> = process.mappings.iter().filter(is_plain).cloned().collect();
        let mut batch = Batch::new();
        for change in place::difference(before, &wanted) {
            match change {
                Change::Unmap(start, end) => {
                    batch.must("unmapping", libc::SYS_munmap, &[start.into(), (end - start).into()]);
                }
                Change::Map(mapping) => self.map_one(&mapping, &mut batch),
            }
        }
        for (start, end, prot) in place::protections(before, &wanted) {
            batch.must(
                "protecting memory",
                libc::SYS_mprotect,
                &[start.into(), (end - start).into(), prot.into()],
            );
        }
        if !batch.is_empty() {
            if !before.is_empty() {
                self.in_pieces.insert(process.node.pid);
            }
            self.stub(process.node.pid)?.run(&batch)?;
        }
        let attachments = sysv::attachments(&process.mappings, is_segment);
        for attachment in attachments {
            let object = &layout.objects[attachment.object().0 as usize];
            if let ObjectKind::SysV { shmid, .. } = object.kind {
                attachment.attach(shmid, object.size, self.stub(process.node.pid)?)?;
            }
        }
        Ok(())
    }

    fn map_one(&self, m: &Mapping, batch: &mut Batch) {
        let mut flags = libc::MAP_FIXED_NOREPLACE;
        // Of a ring only the place, until the kernel makes it.
        let shared = m.shared && m.backing != Backing::Ring;
        flags |= if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        flags |= m.traits.map_flags();
        let prot = filling_protection(m);
        let (fd, offset) = match m.backing {
            Backing::Anonymous | Backing::Jumps | Backing::Ring => {
                flags |= libc::MAP_ANONYMOUS;
                (-1, 0)
            }
            Backing::File { file, offset } => (self.files[&(file, may_write(m))], offset),
            Backing::Object { object, offset } => match &self.objects[object.0 as usize] {
                // What was shared for reading only must not become writable.
                Made::File { reader: Some(reader), .. } if m.shared && !may_write(m) => (*reader, offset),
                Made::File { number, .. } => (*number, offset),
                Made::Segment { .. } => return, // attached as a whole
            },
        };
        batch.must(
            "mapping memory",
            libc::SYS_mmap,
            &[m.start.into(), (m.end - m.start).into(), prot.into(), flags.into(), fd.into(), offset.into()],
        );
    }

    /// Makes every mapping one piece for the kernel, as it was at the source. What came in several rounds can
    /// lie in neighbouring pieces that the kernel does not join once both have pages, and mremap(2)
    /// refuses to work across pieces.
    pub(super) fn rejoin(&mut self, pid: i32, mappings: &[Mapping]) -> Result<(), Error> {
        if !self.in_pieces.contains(&pid) {
            return Ok(());
        }
        let io = |e| Error::system(format!("joining memory of process {pid}"), e);
        let host = self.stub(pid)?.host;
        let areas = roam_sys::procfs::maps::read(host).map_err(io)?;
        let whole = |m: &Mapping| {
            let next = areas.partition_point(|a| a.end <= m.start);
            areas.get(next).is_some_and(|a| a.start <= m.start && m.end <= a.end)
        };
        for m in mappings.iter().filter(|m| !m.shared && !whole(m)) {
            let file = MemFile::open(host).map_err(io)?;
            let pagemap = roam_sys::pagemap::Pagemap::open(host).map_err(io)?;
            let mut pages = Vec::new();
            for run in pagemap.own_pages(&[Run { start: m.start, end: m.end }]).map_err(io)? {
                let mut bytes = vec![0; (run.end - run.start) as usize];
                file.read(run.start, &mut bytes).map_err(io)?;
                pages.push((run.start, bytes));
            }
            let mut batch = Batch::new();
            batch.must("unmapping", libc::SYS_munmap, &[m.start.into(), (m.end - m.start).into()]);
            self.map_one(m, &mut batch);
            self.stub(pid)?.run(&batch)?;
            for (address, bytes) in pages {
                self.write_private(pid, address, &bytes, filling_protection(m) & libc::PROT_WRITE != 0)
                    .map_err(io)?;
            }
        }
        Ok(())
    }

    /// Fills private memory, also what was never writable, more slowly.
    pub(super) fn write_private(
        &mut self,
        pid: i32,
        address: u64,
        bytes: &[u8],
        writable: bool,
    ) -> std::io::Result<()> {
        let host = self.stubs.get(&pid).ok_or(std::io::ErrorKind::NotFound)?.host;
        if writable && memory::write(host, address, bytes).is_ok() {
            return Ok(());
        }
        match self.files_of_memory.entry(pid) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(MemFile::open(host)?),
        }
        .write(address, bytes)
    }

    /// Whether all of this range can be written to while it is filled; none if a part is not mapped.
    pub(super) fn mapped(&self, pid: i32, address: u64, len: u64) -> Option<bool> {
        let process = self.layout.processes.iter().find(|p| p.node.pid == pid)?;
        let end = address.checked_add(len)?;
        let (mut at, mut writable) = (address, true);
        let first = process.mappings.partition_point(|m| m.end <= address);
        for m in &process.mappings[first..] {
            if m.start > at {
                return None;
            }
            at = m.end;
            writable &= filling_protection(m) & libc::PROT_WRITE != 0;
            if at >= end {
                return Some(writable);
            }
        }
        None
    }
}

/// Whether the file behind a mapping must be open for writing: shared memory that may become writable.
pub(super) fn may_write(m: &Mapping) -> bool {
    m.shared && (m.traits.has(VmFlags::MAY_WRITE) || m.prot & libc::PROT_WRITE != 0)
}

/// The same mappings as another layout names them; what it does not have is named by no one.
fn translated<'a>(mappings: &[Mapping], from: &'a Layout, to: &'a Layout) -> Vec<Mapping> {
    mappings
        .iter()
        .map(|m| match m.backing {
            Backing::File { file, offset } => {
                let same = to.files.iter().position(|f| *f == from.files[file as usize]);
                let file = same.map_or(u32::MAX, |f| f as u32);
                Mapping { backing: Backing::File { file, offset }, ..m.clone() }
            }
            Backing::Object { object, offset } => {
                let kind = |layout: &'a Layout| layout.objects.get(object.0 as usize).map(|o| &o.kind);
                let same = kind(from).zip(kind(to)).is_some_and(|(a, b)| a.is_made_like(b));
                let object = if same { object } else { ObjectId(u32::MAX) };
                Mapping { backing: Backing::Object { object, offset }, ..m.clone() }
            }
            _ => m.clone(),
        })
        .collect()
}
