//! Memory: what each process has mapped, and sending the pages that are its own.
//!
//! Private pages travel with their process, shared ones with their object ([`crate::objects`]), and
//! what a file holds does not travel at all: the target must have a file of the same content at
//! the same path. Areas of the kernel (vdso and its data) are the target's own; what the
//! program remembers of the old ones is kept as jumps ([`crate::kinds::vdso`]).
//!
//! Refused: device memory, packet rings, io_uring rings, huge-page files.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use roam_api::error::Refusal;
use roam_sys::memory::{self, MemFile};
use roam_sys::pagemap::Pagemap;
use roam_sys::procfs::maps::{self, Area};
use roam_sys::runs::{self, Run};

use crate::content::{self, Content, MapsName};
use crate::error::Error;
use crate::kinds::private_files;
use crate::kinds::sysv;
use crate::kinds::tree::Node;
use crate::kinds::vdso;
use crate::objects::{Object, ObjectId, ObjectKind, Objects};
use crate::pages::{Backing, Layout, MappedFile, Mapping, PAGE, PageSink, PageStats, ProcessLayout, Space};
use crate::pod::Pod;

/// Bytes read and sent at a time.
const CHUNK: u64 = 1 << 20;

/// Puts a [`Layout`] together, process by process.
pub struct Builder<'a> {
    root: PathBuf,
    objects: &'a mut Objects,
    files: Vec<MappedFile>,
    /// The files known so far, each with what the kernel calls it in maps.
    by_path: HashMap<Vec<u8>, (MapsName, u32)>,
    processes: Vec<ProcessLayout>,
    private: Vec<PathBuf>,
    /// What can't be carried.
    pub refusals: Vec<Refusal>,
    /// One place where each object is mapped: process and address, for reading it.
    seen_at: HashMap<ObjectId, Vec<(i32, u64, u64, u64)>>,
}

/// Where the bytes of each object can be read: process, address, offset in the object, length.
pub type ObjectViews = HashMap<ObjectId, Vec<(i32, u64, u64, u64)>>;

impl<'a> Builder<'a> {
    /// Begins with an empty layout.
    pub fn new(pod: &dyn Pod, objects: &'a mut Objects) -> Self {
        // What can't be listed holds nothing that is mapped; capturing it fails by name later.
        let private_folders = private_files::folders(pod).unwrap_or_default();
        Self {
            root: pod.root(),
            objects,
            files: Vec::new(),
            by_path: HashMap::new(),
            processes: Vec::new(),
            private: private_folders,
            refusals: Vec::new(),
            seen_at: HashMap::new(),
        }
    }

    /// Adds a process. A zombie has no areas.
    ///
    /// # Errors
    /// If its memory can't be read.
    pub fn add(&mut self, host: i32, name: &str, node: Node) -> Result<(), Error> {
        let areas = if node.ended.is_some() {
            Vec::new()
        } else {
            maps::read(host).map_err(|e| Error::system(format!("reading the memory map of {name}"), e))?
        };
        let mut head = [0u8; 64];
        let marked = |area: &Area, head: &mut [u8; 64]| {
            vdso::may_be_marked(area) && memory::read(host, area.start, head).is_ok() && vdso::is_marked(head)
        };
        let has_jumps = areas.iter().any(|a| marked(a, &mut head));
        let mut mappings = Vec::with_capacity(areas.len());
        for area in &areas {
            let backing = if area.name == b"[vdso]" {
                if has_jumps {
                    continue;
                }
                Some(Backing::Jumps)
            } else if area.is_kernel() {
                continue;
            } else if marked(area, &mut head) {
                Some(Backing::Jumps)
            } else {
                match self.backing(area) {
                    Ok(backing) => Some(backing),
                    Err((reason, remedy)) => {
                        self.refusals.push(Refusal {
                            process: name.to_owned(),
                            pid: node.pid as u32,
                            what: format!(
                                "mapping {:x}-{:x} ({})",
                                area.start,
                                area.end,
                                String::from_utf8_lossy(&area.name)
                            ),
                            reason,
                            remedy,
                        });
                        None
                    }
                }
            };
            let Some(backing) = backing else { continue };
            if let Backing::Object { object, offset } = backing {
                self.seen_at.entry(object).or_default().push((host, area.start, offset, area.len()));
            }
            mappings.push(Mapping {
                start: area.start,
                end: area.end,
                prot: area.prot,
                shared: area.shared,
                grows_down: area.name == b"[stack]",
                backing,
            });
        }
        self.processes.push(ProcessLayout { node, mappings });
        Ok(())
    }

    fn backing(&mut self, area: &Area) -> Result<Backing, (String, String)> {
        let no = |reason: &str, remedy: &str| (reason.to_owned(), remedy.to_owned());
        let name = area.name.as_slice();
        if area.inode == 0 && !area.shared && !name.starts_with(b"/") {
            return Ok(Backing::Anonymous);
        }
        let deleted = name.strip_suffix(b" (deleted)");
        if let Some(path) = deleted {
            let device = nix::libc::makedev(area.device.0, area.device.1);
            let kind = if let Some(memfd) = path.strip_prefix(b"/memfd:") {
                ObjectKind::Memfd { name: memfd.to_vec(), seals: 0, huge: 0 }
            } else if path == b"/dev/zero" {
                if !area.shared {
                    return Ok(Backing::Anonymous);
                }
                ObjectKind::Memfd { name: Vec::new(), seals: 0, huge: 0 }
            } else if let Some(key) = path.strip_prefix(b"/SYSV") {
                let key = u32::from_str_radix(&String::from_utf8_lossy(key), 16).unwrap_or(0);
                if area.offset != 0 {
                    return Err(no(
                        "a part of System V shared memory can't be carried",
                        "Restart the program.",
                    ));
                }
                // The inode of a segment is its id. Its true size is known already.
                let segment = Object {
                    kind: ObjectKind::SysV { shmid: area.inode as i32, key: key as i32, mode: 0o600 },
                    size: area.len(),
                };
                let id = self.objects.register(sysv::DEVICE, area.inode, segment, None);
                return Ok(Backing::Object { object: id, offset: 0 });
            } else if path == b"/anon_hugepage" || path.starts_with(b"/[") || path.starts_with(b"[") {
                return Err(no(
                    "this kind of memory can't be carried yet",
                    "Start the program without huge pages or asynchronous I/O.",
                ));
            } else {
                ObjectKind::Unlinked { path: path.to_vec(), mode: None }
            };
            let size = area.offset + area.len();
            let id = self.objects.register(device, area.inode, Object { kind, size }, None);
            self.objects.grow(id, size);
            return Ok(Backing::Object { object: id, offset: area.offset });
        }
        if name == b"/dev/zero" && !area.shared {
            return Ok(Backing::Anonymous);
        }
        if !name.starts_with(b"/") || name.starts_with(b"/dev/") && !name.starts_with(b"/dev/shm/") {
            return Err(no(
                "memory of a device or of the kernel can't be carried",
                "Programs that need a device (graphics card, sound card) can't be moved; try the program's own setting for doing without.",
            ));
        }
        self.file(area).map_err(|e| {
            no(
                &format!("the mapped file can't be read: {e}"),
                "Check the file's permissions, or restart the program.",
            )
        })
    }

    fn file(&mut self, area: &Area) -> io::Result<Backing> {
        let name = (area.device, area.inode);
        // Most areas are of a file that the one before was of as well.
        if let Some((_, file)) = self.by_path.get(&area.name).filter(|(known, _)| *known == name) {
            return Ok(Backing::File { file: *file, offset: area.offset });
        }
        let path = area.name.clone();
        let outside = in_root(&self.root, &path);
        let meta = std::fs::metadata(&outside)?;
        let same = meta.ino() == area.inode && meta.dev() == nix::libc::makedev(area.device.0, area.device.1)
            || content::maps_name(&std::fs::File::open(&outside)?)? == name;
        if same
            && self
                .private
                .iter()
                .any(|folder| Path::new(std::ffi::OsStr::from_bytes(&path)).starts_with(folder))
        {
            // The pod's own file: it is made anew with its content, so it is carried like shared memory.
            let kind = ObjectKind::Private { path };
            let file = std::fs::File::open(&outside)?;
            let object = Object { kind, size: meta.len() };
            let id = self.objects.register(meta.dev(), meta.ino(), object, Some(file.into()));
            return Ok(Backing::Object { object: id, offset: area.offset });
        }
        if !same {
            // Another file took its name: what is mapped is carried whole.
            let device = nix::libc::makedev(area.device.0, area.device.1);
            let size = area.offset + area.len();
            let id = self.objects.register(
                device,
                area.inode,
                Object { kind: ObjectKind::Unlinked { path, mode: None }, size },
                None,
            );
            self.objects.grow(id, size);
            return Ok(Backing::Object { object: id, offset: area.offset });
        }
        let content = Content::of(&std::fs::File::open(&outside)?)?;
        let file = self.files.len() as u32;
        self.files.push(MappedFile { path: path.clone(), content });
        self.by_path.insert(path, (name, file));
        Ok(Backing::File { file, offset: area.offset })
    }

    /// The finished layout, and where to read its objects.
    #[must_use]
    pub fn finish(self) -> (Layout, ObjectViews) {
        let layout = Layout {
            processes: self.processes,
            files: self.files,
            objects: self.objects.image(),
            private: Vec::new(),
        };
        (layout, self.seen_at)
    }
}

/// A path of the pod as this process reaches it.
#[must_use]
pub fn in_root(root: &Path, path: &[u8]) -> PathBuf {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    root.join(std::ffi::OsStr::from_bytes(relative))
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
    pub fn process(&mut self, host: i32, layout: &ProcessLayout) -> Result<(), Error> {
        if layout.mappings.is_empty() {
            return Ok(());
        }
        let pid = layout.node.pid;
        let pagemap = open_pagemap(host)?;
        let whole = |m: &Mapping| Run { start: m.start, end: m.end };
        let private: Vec<Run> = layout.mappings.iter().filter(|m| !m.shared).map(whole).collect();
        let own = pagemap
            .own_pages(&private)
            .map_err(|e| Error::system(format!("looking for the pages of process {pid}"), e))?;
        for mapping in &layout.mappings {
            if mapping.shared || mapping.backing == Backing::Jumps {
                self.untracked(host, pid, mapping)?;
            } else {
                self.runs(host, pid, mapping.prot, &runs::within(&own, whole(mapping)))?;
            }
        }
        Ok(())
    }

    /// A mapping whose pages are not the process's own: jumps are the kernel's page, which the page map does
    /// not show, and shared memory goes with its object.
    ///
    /// # Errors
    /// If it can't be read or taken.
    pub fn untracked(&mut self, host: i32, pid: i32, mapping: &Mapping) -> Result<(), Error> {
        if mapping.backing != Backing::Jumps {
            return Ok(());
        }
        self.runs(host, pid, mapping.prot, &[Run { start: mapping.start, end: mapping.end }])
    }

    /// These runs of pages.
    ///
    /// # Errors
    /// If they can't be read or taken.
    pub fn runs(&mut self, host: i32, pid: i32, prot: i32, runs: &[Run]) -> Result<(), Error> {
        for run in runs {
            let mut at = run.start;
            while at < run.end {
                let len = (run.end - at).min(CHUNK);
                self.buffer.resize(len as usize, 0);
                match read_any(host, at, &mut self.buffer, prot) {
                    Ok(()) => {}
                    // Unmapped since the layout was read: the next round knows. Its neighbours still count.
                    Err(_) if self.running && len > PAGE => {
                        let pages: Vec<Run> = (at..at + len)
                            .step_by(PAGE as usize)
                            .map(|page| Run { start: page, end: page + PAGE })
                            .collect();
                        self.runs(host, pid, prot, &pages)?;
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
                self.sink.pages(Space::Process(pid), at, &self.buffer)?;
                self.stats.pages += len / PAGE;
                self.stats.bytes += len;
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
            for (host, address, offset, len) in views.get(&id).into_iter().flatten() {
                let mut at = 0;
                while at < *len {
                    let part = (len - at).min(CHUNK);
                    self.buffer.resize(part as usize, 0);
                    // Beyond the object's end the mapping has no pages.
                    if read_any(*host, address + at, &mut self.buffer, 0).is_ok() {
                        self.object_part(id, offset + at)?;
                    }
                    at += part;
                }
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
            self.object_part(id, at)?;
            at += part;
        }
        Ok(())
    }

    /// Sends the buffer's pages that are not all zero: a new object is zero anyway.
    fn object_part(&mut self, id: ObjectId, offset: u64) -> Result<(), Error> {
        let mut start = None;
        let pages = self.buffer.len() / PAGE as usize;
        for page in 0..=pages {
            let bytes = self.buffer.get(page * PAGE as usize..(page + 1) * PAGE as usize);
            let wanted = bytes.is_some_and(|b| b.iter().any(|b| *b != 0));
            match (wanted, start) {
                (true, None) => start = Some(page),
                (false, Some(first)) => {
                    let range = first * PAGE as usize..page * PAGE as usize;
                    let len = range.len() as u64;
                    self.sink.pages(
                        Space::Object(id),
                        offset + (first as u64) * PAGE,
                        &self.buffer[range],
                    )?;
                    self.stats.pages += len / PAGE;
                    self.stats.bytes += len;
                    start = None;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opens a process's page map.
///
/// # Errors
/// If it is gone.
pub fn open_pagemap(host: i32) -> Result<Pagemap, Error> {
    Pagemap::open(host).map_err(|e| Error::system(format!("opening the page map of process {host}"), e))
}

fn read_any(host: i32, address: u64, into: &mut [u8], prot: i32) -> io::Result<()> {
    if prot & libc::PROT_READ != 0 && memory::read(host, address, into).is_ok() {
        return Ok(());
    }
    MemFile::open(host)?.read(address, into)
}
