//! Memory: what each process has mapped, and sending the pages that are its own.
//!
//! Private pages travel with their process, shared ones with their object ([`crate::objects`]), and
//! what a file holds does not travel at all: the target must have a file of the same content at
//! the same path. Areas of the kernel (vdso and its data) are the target's own; what the
//! program remembers of the old ones is kept as jumps ([`crate::kinds::vdso`]).
//!
//! Refused: device memory, packet rings, io_uring rings, and what [`crate::kinds::memory_traits`] refuses.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use roam_api::error::Refusal;
use roam_sys::procfs::maps::Area;
use roam_sys::procfs::smaps::{self, VmFlags};
use roam_sys::runs::{Run, push};

use crate::content::{self, Content, MapsName};
use crate::error::Error;
use crate::kinds::aio;
use crate::kinds::mapped_file::{self, Source};
use crate::kinds::memory_file;
use crate::kinds::memory_traits::Traits;
use crate::kinds::namespace_finder::Finder;
use crate::kinds::pid_namespaces::Pids;
use crate::kinds::private_files;
use crate::kinds::sysv;
use crate::kinds::tree::{self, Node, Step};
use crate::kinds::vdso;
use crate::objects::{Object, ObjectId, ObjectKind, Objects};
use crate::pages::{Backing, Layout, MappedFile, Mapping, ProcessLayout};
use crate::pod::Pod;

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
    /// Where each object is mapped, for reading it.
    seen_at: ObjectViews,
    areas: AreasOf,
    /// Objects whose size was looked for.
    measured: HashSet<ObjectId>,
    /// All that processes can have mapped is known by now.
    still: bool,
}

/// A mapping through which the bytes of an object can be read.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// The process that has it, as the keeper sees it.
    pub host: i32,
    /// Where it begins in the process.
    pub address: u64,
    /// Where it begins in the object.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// PROT_* bits.
    pub prot: i32,
    /// Every page of it is the object's; a private one may show pages of the process's own.
    pub shared: bool,
}

impl View {
    /// Where it lies in the process.
    #[must_use]
    pub fn range(&self) -> Run {
        Run { start: self.address, end: self.address + self.len }
    }

    /// The part of the object that it shows.
    #[must_use]
    pub fn part(&self) -> Run {
        Run { start: self.offset, end: self.offset + self.len }
    }

    /// Where in the object these runs of the process lie.
    #[must_use]
    pub fn inside(&self, runs: &[Run]) -> Vec<Run> {
        let inside = |at: u64| self.offset + (at - self.address);
        runs.iter().map(|run| Run { start: inside(run.start), end: inside(run.end) }).collect()
    }
}

/// Where the bytes of each object can be read.
pub type ObjectViews = HashMap<ObjectId, Vec<View>>;

/// What the kernel says of a process's private memory that does not travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Areas {
    /// Areas that the engine has registered with a userfaultfd, and that are the same since.
    pub marked: Vec<Run>,
    /// Areas of which some pages are in memory or swapped out.
    pub populated: Vec<Run>,
}

/// That of each process, by its pid in the pod.
pub type AreasOf = HashMap<i32, Areas>;

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
            areas: HashMap::new(),
            measured: HashSet::new(),
            still: false,
        }
    }

    /// The session is frozen, and its System V objects are registered.
    #[must_use]
    pub fn of_a_still_session(self) -> Self {
        Self { still: true, ..self }
    }

    /// Adds a process. A zombie has no areas.
    ///
    /// # Errors
    /// If its memory can't be read.
    pub fn add(&mut self, host: i32, name: &str, node: Node) -> Result<(), Error> {
        let areas = if node.ended.is_some() {
            Vec::new()
        } else {
            smaps::read(host).map_err(|e| Error::system(format!("reading the memory map of {name}"), e))?
        };
        let (areas, details): (Vec<Area>, Vec<smaps::Details>) = areas.into_iter().unzip();
        let source = Source::new(host, &areas);
        let has_jumps = areas.iter().any(|area| vdso::is_jumps(host, area));
        let mut mappings = Vec::with_capacity(areas.len());
        let mut known = Areas::default();
        for (area, details) in areas.iter().zip(&details) {
            let traits = Traits::of(area, details);
            let backing = if area.name == b"[vdso]" {
                if has_jumps {
                    continue;
                }
                Some(Backing::Jumps)
            } else if area.is_kernel() {
                continue;
            } else if vdso::is_jumps(host, area) {
                Some(Backing::Jumps)
            } else {
                let refused = traits.refused().map(|(reason, remedy)| (reason.to_owned(), remedy.to_owned()));
                match refused.map_or_else(|| self.backing(&source, area), Err) {
                    Ok(backing) => backing,
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
                let (address, len) = (area.start, area.len());
                let view = View { host, address, offset, len, prot: area.prot, shared: area.shared };
                self.seen_at.entry(object).or_default().push(view);
            }
            let whole = Run { start: area.start, end: area.end };
            if details.flags.has(VmFlags::MARKED) {
                push(&mut known.marked, whole);
            }
            if details.populated {
                push(&mut known.populated, whole);
            }
            mappings.push(Mapping {
                start: area.start,
                end: area.end,
                prot: area.prot,
                shared: area.shared,
                traits,
                backing,
            });
        }
        self.areas.insert(node.pid, known);
        self.processes.push(ProcessLayout { node, name: name.to_owned(), mappings });
        Ok(())
    }

    /// What stands behind an area; none if it is not carried in this round.
    fn backing(&mut self, source: &Source<'_>, area: &Area) -> Result<Option<Backing>, (String, String)> {
        let no = |reason: &str, remedy: &str| (reason.to_owned(), remedy.to_owned());
        let name = area.name.as_slice();
        if area.inode == 0 && !area.shared && !name.starts_with(b"/") {
            return Ok(Some(Backing::Anonymous));
        }
        let deleted = name.strip_suffix(b" (deleted)");
        if let Some(path) = deleted {
            let kind = if let Some(memfd) = path.strip_prefix(b"/memfd:") {
                ObjectKind::memory(memfd)
            } else if path == b"/dev/zero" {
                if !area.shared {
                    return Ok(Some(Backing::Anonymous));
                }
                ObjectKind::memory(b"")
            } else if path.starts_with(b"/SYSV") {
                // The inode of a segment is its id. All are registered once the session is frozen; before, too
                // little is known to make them.
                return match self.objects.find(sysv::DEVICE, area.inode) {
                    Some(object) => Ok(Some(Backing::Object { object, offset: area.offset })),
                    None if self.still => Err(no(sysv::OF_NO_LIST.0, sysv::OF_NO_LIST.1)),
                    None => Ok(None),
                };
            } else if aio::is_ring(path) {
                return if area.offset == 0 { Ok(Some(Backing::Ring)) } else { Err(aio::cut()) };
            } else if path.starts_with(b"/[") || path.starts_with(b"[") {
                return Err(no(
                    "this kind of memory can't be carried yet",
                    "Start the program without asynchronous I/O.",
                ));
            } else {
                ObjectKind::Unlinked { path: path.to_vec(), mode: None }
            };
            return Ok(Some(self.unnamed(source, area, kind)));
        }
        if name.starts_with(b"[anon_shmem:") {
            let kind = ObjectKind::memory(b"");
            return Ok(Some(self.unnamed(source, area, kind)));
        }
        if name == b"/dev/zero" && !area.shared {
            return Ok(Some(Backing::Anonymous));
        }
        if !name.starts_with(b"/") || name.starts_with(b"/dev/") && !name.starts_with(b"/dev/shm/") {
            return Err(no(
                "memory of a device or of the kernel can't be carried",
                "Programs that need a device (graphics card, sound card) can't be moved; try the program's own setting for doing without.",
            ));
        }
        self.file(source, area).map(Some).map_err(|e| {
            no(
                &format!("the mapped file can't be read: {e}"),
                "Check the file's permissions, or restart the program.",
            )
        })
    }

    /// What has no name any more, or another one than it seems: carried whole.
    fn unnamed(&mut self, source: &Source<'_>, area: &Area, kind: ObjectKind) -> Backing {
        let device = nix::libc::makedev(area.device.0, area.device.1);
        let id = match self.objects.find(device, area.inode).filter(|id| self.objects.has_file(*id)) {
            Some(id) => id,
            // The program's own file can be opened although it has no name.
            None => match source.executable(area) {
                Some((file, meta)) => {
                    let kind = match kind {
                        // What is open for writing can't be executed, and a restore writes it; but a memfd can.
                        ObjectKind::Unlinked { path, .. } => {
                            ObjectKind::memory(path.rsplit(|b| *b == b'/').next().unwrap_or_default())
                        }
                        other => memory_file::as_seen(other, &file),
                    };
                    let object = Object { kind, size: meta.len() };
                    self.objects.register(device, area.inode, object, Some(file.into()))
                }
                None => {
                    let size = area.offset + source.readable_len(area);
                    let id = self.objects.register(device, area.inode, Object { kind, size }, None);
                    self.objects.measured(id, size, self.measured.insert(id));
                    id
                }
            },
        };
        Backing::Object { object: id, offset: area.offset }
    }

    fn file(&mut self, source: &Source<'_>, area: &Area) -> io::Result<Backing> {
        let name = (area.device, area.inode);
        // Most areas are of a file that the one before was of as well.
        if let Some((_, file)) = self.by_path.get(&area.name).filter(|(known, _)| *known == name) {
            return Ok(Backing::File { file: *file, offset: area.offset });
        }
        let path = area.name.clone();
        let outside = in_root(&self.root, &path);
        let meta = std::fs::metadata(&outside)?;
        let same = meta.ino() == area.inode && meta.dev() == nix::libc::makedev(area.device.0, area.device.1)
            || content::maps_name(&File::open(&outside)?)? == name;
        if same
            && self
                .private
                .iter()
                .any(|folder| Path::new(std::ffi::OsStr::from_bytes(&path)).starts_with(folder))
        {
            // The pod's own file: it is made anew with its content, so it is carried like shared memory.
            let kind = ObjectKind::Private { path };
            let file = File::open(&outside)?;
            let object = Object { kind, size: meta.len() };
            let id = self.objects.register(meta.dev(), meta.ino(), object, Some(file.into()));
            return Ok(Backing::Object { object: id, offset: area.offset });
        }
        if !same {
            // Another file took its name.
            return Ok(self.unnamed(source, area, ObjectKind::Unlinked { path, mode: None }));
        }
        let open = File::open(&outside)?;
        if area.shared && content::is_shared(&open)? {
            content::settle(&open)?;
        }
        let content = Content::of(&open)?;
        let file = self.files.len() as u32;
        self.files.push(MappedFile { path: path.clone(), content, stand_in: None });
        self.by_path.insert(path, (name, file));
        Ok(Backing::File { file, offset: area.offset })
    }

    /// The finished layout, where to read its objects, and what else is known of the areas.
    #[must_use]
    pub fn finish(mut self, namespaces: &Finder) -> (Layout, ObjectViews, AreasOf) {
        mapped_file::add_stand_ins(&self.root, &self.processes, &mut self.files, self.objects);
        let pids = namespaces.pids();
        let layout = Layout {
            processes: in_order_of_birth(self.processes, &pids),
            files: self.files,
            objects: self.objects.image(),
            private: Vec::new(),
            users: namespaces.users(),
            namespaces: namespaces.others(),
            pids,
        };
        (layout, self.seen_at, self.areas)
    }
}

/// As the target makes them: each finds its parent's memory complete.
fn in_order_of_birth(mut processes: Vec<ProcessLayout>, pids: &Pids) -> Vec<ProcessLayout> {
    let nodes: Vec<Node> = processes.iter().map(|p| p.node).collect();
    // Where there is no way to make them, that is said once the session is frozen.
    if let Ok(steps) = tree::plan(&nodes, pids) {
        let born = steps.iter().filter_map(|step| match step {
            Step::Fork { pid, .. } => Some(*pid),
            _ => None,
        });
        let places: HashMap<i32, usize> = born.zip(0..).collect();
        processes.sort_by_key(|p| places.get(&p.node.pid).copied());
    }
    processes
}

/// A path of the pod as this process reaches it.
#[must_use]
pub fn in_root(root: &Path, path: &[u8]) -> PathBuf {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    root.join(std::ffi::OsStr::from_bytes(relative))
}
