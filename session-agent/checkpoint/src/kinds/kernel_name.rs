//! What the kernel calls a file in its lists of watches.
//!
//! stat(2) may tell another device and inode: on btrfs each subvolume has a device of its own, on overlayfs files that
//! come from below have, and inode numbers alone may be those of two files. So the kernel is asked in its own way: the
//! file is watched for a moment, and the watch is read in /proc/self/fdinfo (inotify(7), proc_pid_fdinfo(5)).

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use roam_sys::procfs::fdinfo::FdInfo;

/// Device and inode.
pub type Inode = (u64, u64);

/// As the kernel names a watched file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The device of its file system, and its inode there.
    pub inode: Inode,
    /// Its handle (name_to_handle_at(2)) in hexadecimal, which is its alone; empty if the file system makes none, or if
    /// it is not known.
    pub handle: Vec<u8>,
}

impl From<Inode> for Name {
    fn from(inode: Inode) -> Self {
        Self { inode, handle: Vec::new() }
    }
}

/// One watcher for the life of this process: the end of one waits for all processors.
static WATCHER: Mutex<Option<Inotify>> = Mutex::new(None);

/// What is at a path of this process; a link is followed if `links` says so. None if there is nothing, or it can't be
/// read.
#[must_use]
pub fn of(path: &Path, links: bool) -> Option<Name> {
    let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
    if watcher.is_none() {
        *watcher = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
    }
    let watcher = watcher.as_ref()?;
    let follow = if links { AddWatchFlags::empty() } else { AddWatchFlags::IN_DONT_FOLLOW };
    let watch = watcher.add_watch(path, AddWatchFlags::IN_DELETE_SELF | follow).ok()?;
    let info = roam_sys::procfs::read(&format!("/proc/self/fdinfo/{}", watcher.as_fd().as_raw_fd()));
    let found = info.ok().and_then(|text| FdInfo::parse(std::str::from_utf8(&text).ok()?)?.inotify().pop());
    // The kernel says that it is gone; nobody wants to know.
    let _ = watcher.rm_watch(watch);
    let _ = watcher.read_events();
    found.map(|found| Name { inode: (found.device, found.inode), handle: found.handle })
}

/// Whether what is at a path, of which stat(2) says `said`, is the one.
#[must_use]
pub fn is(path: &Path, said: Inode, wanted: &Name) -> bool {
    if wanted.handle.is_empty() && said == wanted.inode {
        return true;
    }
    match of(path, false) {
        Some(name) if wanted.handle.is_empty() => name.inode == wanted.inode,
        Some(name) => name == *wanted,
        // A file that may not be read can't be watched either, not by us.
        None => said == wanted.inode,
    }
}

/// Devices as the kernel's lists call them, by what stat(2) says.
#[derive(Debug, Default)]
pub struct Devices(HashMap<u64, u64>);

impl Devices {
    /// That on which a folder is.
    pub fn of(&mut self, folder: &Path, said: u64) -> u64 {
        *self.0.entry(said).or_insert_with(|| of(folder, false).map_or(said, |name| name.inode.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_has_one_name_whatever_path_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other, link] = ["one", "other", "link"].map(|name| dir.path().join(name));
        std::fs::write(&one, b"").unwrap();
        std::fs::hard_link(&one, &other).unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let name = of(&one, true).unwrap();
        assert_eq!(of(&other, true), Some(name.clone()));
        assert_eq!(of(&link, true), Some(name.clone()));
        assert_ne!(of(&link, false), Some(name.clone()));
        assert_ne!(of(dir.path(), true), Some(name.clone()));
        assert_eq!(of(&dir.path().join("none"), true), None);
        let meta = std::fs::metadata(&one).unwrap();
        assert!(is(&one, (meta.dev(), meta.ino()), &name));
        assert!(!is(dir.path(), (meta.dev(), meta.ino()), &name));
    }
}
