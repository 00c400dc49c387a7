//! Which path an inode has: a search where programs usually watch, remembered for the next time.
//!
//! The thorough search runs in the check, while the session runs; the freeze then finds everything
//! remembered, and looks at the nearest places first for what is new.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::gather::Known;

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A few thousand entries: a few milliseconds.
    Quick,
    /// A hundred thousand entries.
    Thorough,
}

type Inode = (u64, u64);
static REMEMBERED: Mutex<Option<HashMap<Inode, Vec<u8>>>> = Mutex::new(None);
/// More are forgotten all at once.
const MOST: usize = 1 << 14;

/// Folders below which programs watch, after those that they have open, with how deep to look.
const USUAL: [(&str, u32); 9] = [
    ("/etc", 2),
    ("/usr/share", 2),
    ("/usr/local/share", 2),
    ("/tmp", 3),
    ("/run", 3),
    ("/var/lib", 2),
    ("/usr/lib", 1),
    ("/dev", 1),
    ("/", 2),
];

/// The path of each, as the pod sees it.
pub fn paths(wanted: &[Inode], known: &Known<'_>, effort: Effort) -> Vec<Option<Vec<u8>>> {
    let is = |inode: Inode, path: &[u8]| {
        known.stat_path(path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == inode)
    };
    let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    let remembered = remembered.get_or_insert_default();
    let mut missing: HashSet<Inode> = wanted
        .iter()
        .filter(|&&inode| !remembered.get(&inode).is_some_and(|path| is(inode, path)))
        .copied()
        .collect();
    if !missing.is_empty() {
        if remembered.len() > MOST {
            remembered.clear();
        }
        search(&mut missing, known, effort, remembered);
        // What came up since the check: standing still a little longer is better than staying.
        if effort == Effort::Quick && !missing.is_empty() {
            search(&mut missing, known, Effort::Thorough, remembered);
        }
    }
    wanted.iter().map(|&inode| remembered.get(&inode).filter(|path| is(inode, path)).cloned()).collect()
}

/// The folders to begin with: nearest first.
fn starts(known: &Known<'_>) -> Vec<(PathBuf, u32)> {
    let mut starts: Vec<(PathBuf, u32)> = Vec::new();
    for holder in known.holders {
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", holder.host));
        starts.extend(cwd.ok().map(|cwd| (cwd, 3)));
    }
    for look in &known.looks {
        let path = Path::new(std::ffi::OsStr::from_bytes(look.link()));
        if path.is_absolute() {
            starts.extend(path.ancestors().take(3).map(|a| (a.to_owned(), 1)));
        }
    }
    for holder in known.holders {
        let environment = std::fs::read(format!("/proc/{}/environ", holder.host)).unwrap_or_default();
        for variable in environment.split(|&b| b == 0) {
            for (name, depth) in [(&b"HOME="[..], 4), (b"XDG_RUNTIME_DIR=", 3), (b"TMPDIR=", 3)] {
                let value = variable.strip_prefix(name);
                starts.extend(value.map(|v| (PathBuf::from(std::ffi::OsStr::from_bytes(v)), depth)));
            }
        }
    }
    starts.extend(USUAL.iter().map(|(path, depth)| (PathBuf::from(path), *depth)));
    let mut seen = HashSet::new();
    starts.retain(|(path, depth)| path.is_absolute() && seen.insert((path.clone(), *depth)));
    starts
}

fn search(
    missing: &mut HashSet<Inode>,
    known: &Known<'_>,
    effort: Effort,
    remembered: &mut HashMap<Inode, Vec<u8>>,
) {
    let root = known.pod.root();
    let outside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let devices: HashSet<u64> = missing.iter().map(|(device, _)| *device).collect();
    let mut numbers: HashSet<u64> = missing.iter().map(|(_, inode)| *inode).collect();
    let mut left = match effort {
        Effort::Quick => 5_000,
        Effort::Thorough => 100_000,
    };
    let mut visited = HashSet::new();
    let mut found = |path: &Path, inode: Inode, numbers: &mut HashSet<u64>| {
        if missing.remove(&inode) {
            remembered.insert(inode, path.as_os_str().as_bytes().to_vec());
            *numbers = missing.iter().map(|(_, inode)| *inode).collect();
        }
        missing.is_empty()
    };
    // One start after the other, each breadth first: what is near is found first.
    for (start, depth) in starts(known) {
        let mut queue = VecDeque::from([(start, depth)]);
        while let Some((folder, depth)) = queue.pop_front() {
            let Ok(meta) = std::fs::symlink_metadata(outside(&folder)) else { continue };
            if found(&folder, (meta.dev(), meta.ino()), &mut numbers) {
                return;
            }
            // Where nothing wanted can be, there may still be mounts: only the top is looked at.
            let worth = devices.contains(&meta.dev()) || folder.components().count() <= 2;
            if !meta.is_dir() || depth == 0 || !worth || !visited.insert((meta.dev(), meta.ino(), depth)) {
                continue;
            }
            let Ok(entries) = std::fs::read_dir(outside(&folder)) else { continue };
            for entry in entries.flatten() {
                if left == 0 {
                    return;
                }
                left -= 1;
                let path = folder.join(entry.file_name());
                let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
                if numbers.contains(&entry.ino())
                    && let Ok(meta) = std::fs::symlink_metadata(outside(&path))
                    && found(&path, (meta.dev(), meta.ino()), &mut numbers)
                {
                    return;
                }
                if is_dir {
                    queue.push_back((path, depth - 1));
                }
            }
        }
    }
}
