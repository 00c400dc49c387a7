//! Which path an inode has: a search where programs usually watch, remembered for the next time.
//!
//! The long searches run in the check, while the session runs; the freeze then finds everything
//! remembered, and looks at the nearest places first for what is new.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::gather::Known;
use super::kernel_name::{self, Devices, Inode, Name};

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A few thousand entries: a few milliseconds. Only if that does not do, a hundred thousand.
    Quick,
    /// A hundred thousand entries and, if that does not do, all that there are, to two millions: some seconds.
    Thorough,
}

/// How many entries are read, and how much deeper than usual they may lie.
#[derive(Debug, Clone, Copy)]
struct Reach {
    entries: usize,
    deeper: u32,
}

impl Effort {
    /// One search after the other, while something is missing.
    fn searches(self) -> &'static [Reach] {
        const NEAR: Reach = Reach { entries: 5_000, deeper: 0 };
        const USUAL: Reach = Reach { entries: 100_000, deeper: 0 };
        const ALL: Reach = Reach { entries: 2_000_000, deeper: 16 };
        match self {
            // What came up since the check: standing still a little longer is better than staying.
            Self::Quick => &[NEAR, USUAL],
            Self::Thorough => &[USUAL, ALL],
        }
    }
}

static REMEMBERED: Mutex<Option<HashMap<Name, Vec<u8>>>> = Mutex::new(None);
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
pub fn paths(wanted: &[Name], known: &Known<'_>, effort: Effort) -> Vec<Option<Vec<u8>>> {
    let root = known.pod.root();
    let is = |name: &Name, path: &[u8]| {
        let here = outside(&root, Path::new(OsStr::from_bytes(path)));
        known.stat_path(path).is_ok_and(|stat| kernel_name::is(&here, (stat.st_dev, stat.st_ino), name))
    };
    let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    let remembered = remembered.get_or_insert_default();
    let mut missing: HashSet<Name> = wanted
        .iter()
        .filter(|name| !remembered.get(name).is_some_and(|path| is(name, path)))
        .cloned()
        .collect();
    if !missing.is_empty() && remembered.len() > MOST {
        remembered.clear();
    }
    for reach in effort.searches() {
        if !missing.is_empty() {
            search(&mut missing, known, *reach, remembered);
        }
    }
    wanted.iter().map(|name| remembered.get(name).filter(|path| is(name, path)).cloned()).collect()
}

/// Where this process finds what the pod has at a path.
fn outside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The folders to begin with: nearest first.
fn starts(known: &Known<'_>) -> Vec<(PathBuf, u32)> {
    let mut starts: Vec<(PathBuf, u32)> = Vec::new();
    for holder in known.holders {
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", holder.host));
        starts.extend(cwd.ok().map(|cwd| (cwd, 3)));
    }
    for look in &known.looks {
        let path = Path::new(OsStr::from_bytes(look.link()));
        if path.is_absolute() {
            starts.extend(path.ancestors().take(3).map(|a| (a.to_owned(), 1)));
        }
    }
    for holder in known.holders {
        let environment = std::fs::read(format!("/proc/{}/environ", holder.host)).unwrap_or_default();
        for variable in environment.split(|&b| b == 0) {
            for (name, depth) in [(&b"HOME="[..], 4), (b"XDG_RUNTIME_DIR=", 3), (b"TMPDIR=", 3)] {
                let value = variable.strip_prefix(name);
                starts.extend(value.map(|v| (PathBuf::from(OsStr::from_bytes(v)), depth)));
            }
        }
    }
    starts.extend(USUAL.iter().map(|(path, depth)| (PathBuf::from(path), *depth)));
    let mut seen = HashSet::new();
    starts.retain(|(path, depth)| path.is_absolute() && seen.insert((path.clone(), *depth)));
    starts
}

fn search(
    missing: &mut HashSet<Name>,
    known: &Known<'_>,
    reach: Reach,
    remembered: &mut HashMap<Name, Vec<u8>>,
) {
    let root = known.pod.root();
    let outside = |path: &Path| outside(&root, path);
    let mut on = Devices::default();
    let devices: HashSet<u64> = missing.iter().map(|name| name.inode.0).collect();
    let mut numbers: HashSet<u64> = missing.iter().map(|name| name.inode.1).collect();
    let mut left = reach.entries;
    // How deep was looked below each folder.
    let mut visited: HashMap<Inode, u32> = HashMap::new();
    let mut found = |path: &Path, said: Inode, numbers: &mut HashSet<u64>| {
        let here = outside(path);
        let name = missing.iter().find(|name| kernel_name::is(&here, said, name)).cloned();
        if let Some(name) = name.and_then(|name| missing.take(&name)) {
            remembered.insert(name, path.as_os_str().as_bytes().to_vec());
            *numbers = missing.iter().map(|name| name.inode.1).collect();
        }
        missing.is_empty()
    };
    // One start after the other, each breadth first: what is near is found first.
    for (start, depth) in starts(known) {
        let mut queue = VecDeque::from([(start, depth + reach.deeper)]);
        while let Some((folder, depth)) = queue.pop_front() {
            let Ok(meta) = std::fs::symlink_metadata(outside(&folder)) else { continue };
            if numbers.contains(&meta.ino()) && found(&folder, (meta.dev(), meta.ino()), &mut numbers) {
                return;
            }
            // Where nothing wanted can be, there may still be mounts: only the top is looked at.
            let device = on.of(&outside(&folder), meta.dev());
            let worth = devices.contains(&device)
                || devices.contains(&meta.dev())
                || folder.components().count() <= 2;
            if !meta.is_dir() || depth == 0 || !worth {
                continue;
            }
            let before = visited.entry((meta.dev(), meta.ino())).or_default();
            if *before >= depth {
                continue;
            }
            *before = depth;
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
