//! Files that are mapped: what one without a name shows, looked at from outside, and the content of those that may
//! be replaced at any time.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use roam_sys::procfs::maps::Area;
use roam_sys::procfs::stat;

use super::memory::in_root;
use super::memory_send::read_any;
use crate::content::Content;
use crate::objects::{Object, ObjectKind, Objects};
use crate::pages::{Backing, MappedFile, PAGE, ProcessLayout};

/// The largest file that comes along as a stand-in, in bytes.
const STAND_IN_MOST: u64 = 1 << 20;
/// Set in the device number under which a stand-in's object is known: it is not the file itself.
const STAND_IN: u64 = 1 << 63;

/// Takes along the small files that belong to the user and are only read as data: settings, lists, caches.
/// Other programs replace them as they like, on either machine and while a session sleeps, and one that runs
/// keeps what it has mapped. Programs and libraries are not among them: those must be the same.
pub(crate) fn add_stand_ins(
    root: &Path,
    processes: &[ProcessLayout],
    files: &mut [MappedFile],
    objects: &mut Objects,
) {
    let mut as_data: HashMap<u32, bool> = HashMap::new();
    for m in processes.iter().flat_map(|p| &p.mappings) {
        if let Backing::File { file, .. } = m.backing {
            *as_data.entry(file).or_insert(true) &= !m.shared && m.prot & libc::PROT_EXEC == 0;
        }
    }
    let own = nix::unistd::geteuid().as_raw();
    for (index, file) in files.iter_mut().enumerate() {
        if file.content.size > STAND_IN_MOST || as_data.get(&(index as u32)) != Some(&true) {
            continue;
        }
        let Ok(open) = File::open(in_root(root, &file.path)) else { continue };
        let Ok(meta) = open.metadata() else { continue };
        if meta.uid() != own || !Content::of(&open).is_ok_and(|content| content == file.content) {
            continue;
        }
        let name = file.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let object = Object { kind: ObjectKind::memory(name), size: meta.len() };
        file.stand_in = Some(objects.register(meta.dev() | STAND_IN, meta.ino(), object, Some(open.into())));
    }
}

/// A process whose areas are looked at.
pub struct Source<'a> {
    host: i32,
    areas: &'a [Area],
}

impl<'a> Source<'a> {
    /// The process with these areas.
    #[must_use]
    pub fn new(host: i32, areas: &'a [Area]) -> Self {
        Self { host, areas }
    }

    /// How much of an area, from its beginning on, has something behind it: a file may end before.
    #[must_use]
    pub fn readable_len(&self, area: &Area) -> u64 {
        let readable = |pages: u64| {
            let mut byte = [0u8];
            pages == 0 || read_any(self.host, area.start + (pages - 1) * PAGE, &mut byte, 0).is_ok()
        };
        let (mut low, mut high) = (0, area.len() / PAGE);
        if readable(high) {
            return area.len();
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if readable(middle) { low = middle } else { high = middle }
        }
        low * PAGE
    }

    /// The program's file, if it is what this area shows.
    #[must_use]
    pub fn executable(&self, area: &Area) -> Option<(File, Metadata)> {
        let code = stat::read(self.host).ok()?.mm.start_code;
        let program = self.areas.iter().find(|a| a.start <= code && code < a.end)?;
        if (program.device, program.inode) != (area.device, area.inode) {
            return None;
        }
        let file = File::open(format!("/proc/{}/exe", self.host)).ok()?;
        let meta = file.metadata().ok()?;
        Some((file, meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_sys::procfs::maps;

    #[test]
    fn a_program_shows_its_own_file() {
        let pid = std::process::id() as i32;
        let areas = maps::read(pid).unwrap();
        let source = Source::new(pid, &areas);
        let exe = std::fs::canonicalize("/proc/self/exe").unwrap();
        let name = std::os::unix::ffi::OsStrExt::as_bytes(exe.as_os_str());
        let area = areas.iter().find(|a| a.name == name).unwrap();
        assert_eq!(source.executable(area).unwrap().1.len(), exe.metadata().unwrap().len());
        assert_eq!(source.readable_len(area), area.len());
        let stack = areas.iter().find(|a| a.name == b"[stack]").unwrap();
        assert!(source.executable(stack).is_none());
    }
}
