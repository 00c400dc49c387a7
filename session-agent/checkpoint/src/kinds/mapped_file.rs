//! What a mapping without a name shows, looked at from outside: how far it goes, and the program's own file.

use std::fs::{File, Metadata};

use roam_sys::procfs::maps::Area;
use roam_sys::procfs::stat;

use super::memory_send::read_any;
use crate::pages::PAGE;

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
