//! The files of the pod's own folders (/tmp, /run, /dev/shm): they are nobody else's, so they travel.
//!
//! Their content travels like shared memory ([`crate::objects`]), since programs may map it. Sockets are
//! made anew by whoever is bound to them. Paths from an image are held to the pod's own folders:
//! folders are made first, symbolic links last, so that none leads elsewhere meanwhile.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use roam_sys::batch::{Batch, RetOf};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::kinds::memory::in_root;
use crate::objects::{Object, ObjectId, ObjectKind, Objects};
use crate::pod::Pod;

/// One entry of a private folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateFile {
    /// Absolute path in the pod.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Last modification: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// What it is.
    pub what: What,
}

/// What a private file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A folder.
    Folder,
    /// A file with content; a second entry with the same object is a hard link.
    File(ObjectId),
    /// A symbolic link to this.
    Link(Vec<u8>),
    /// A FIFO.
    Fifo,
}

/// Lists the private folders, parents before children, and registers the files' content.
///
/// # Errors
/// If a file can't be read.
pub fn capture(pod: &dyn Pod, objects: &mut Objects) -> Result<Vec<PrivateFile>, Error> {
    let mut found = Vec::new();
    let root = pod.root();
    let machines = machines_devices().map_err(|e| Error::system("listing this machine's file systems", e))?;
    for folder in pod.private_folders() {
        let outside = in_root(&root, folder.as_os_str().as_bytes());
        if !outside.is_dir() {
            continue;
        }
        walk(&outside, &folder, &machines, objects, &mut found)
            .map_err(|e| Error::system(format!("reading the session's files in {}", folder.display()), e))?;
    }
    Ok(found)
}

/// The devices of the file systems that this process sees: what is bound into the pod from the machine
/// has one of these, what the pod mounted itself has not.
fn machines_devices() -> io::Result<HashSet<u64>> {
    Ok(parse_devices(&String::from_utf8_lossy(&roam_sys::procfs::read("/proc/self/mountinfo")?)))
}

fn parse_devices(mountinfo: &str) -> HashSet<u64> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
            Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
        })
        .collect()
}

fn walk(
    outside: &Path,
    inside: &Path,
    machines: &HashSet<u64>,
    objects: &mut Objects,
    found: &mut Vec<PrivateFile>,
) -> io::Result<()> {
    for entry in fs::read_dir(outside)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if machines.contains(&meta.dev()) {
            continue; // something bound in from the machine
        }
        let path = inside.join(entry.file_name());
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            What::Folder
        } else if kind.is_symlink() {
            What::Link(fs::read_link(entry.path())?.into_os_string().into_vec())
        } else if kind.is_fifo() {
            What::Fifo
        } else if kind.is_file() {
            let file = fs::File::open(entry.path())?;
            let object = Object {
                kind: ObjectKind::Private { path: path.as_os_str().as_bytes().to_vec() },
                size: meta.len(),
            };
            What::File(objects.register(meta.dev(), meta.ino(), object, Some(file.into())))
        } else {
            continue;
        };
        let is_folder = what == What::Folder;
        found.push(PrivateFile {
            path: path.as_os_str().as_bytes().to_vec(),
            mode: meta.mode() & 0o7777,
            modified: (meta.mtime(), meta.mtime_nsec()),
            what,
        });
        if is_folder {
            walk(&entry.path(), &path, machines, objects, found)?;
        }
    }
    Ok(())
}

/// A path of an image must lie in a private folder and lead nowhere else.
fn allowed(path: &[u8], folders: &[PathBuf]) -> Result<(), Error> {
    let as_path = Path::new(std::ffi::OsStr::from_bytes(path));
    let straight = as_path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if straight && folders.iter().any(|f| as_path.starts_with(f)) {
        return Ok(());
    }
    Err(Error::Image(format!("{} is not in a folder of the session", as_path.display())))
}

/// Adds the calls that make folders and FIFOs. They may be there already.
///
/// # Errors
/// A path outside the private folders.
pub fn make_folders(files: &[PrivateFile], folders: &[PathBuf], batch: &mut Batch) -> Result<(), Error> {
    for file in files {
        allowed(&file.path, folders)?;
        let path = batch.c_string(&file.path);
        match file.what {
            What::Folder => {
                batch.may("making a folder", libc::SYS_mkdir, &[path.into(), 0o700.into()]);
            }
            What::Fifo => {
                batch.may(
                    "making a FIFO",
                    libc::SYS_mknod,
                    &[path.into(), (libc::S_IFIFO | file.mode).into(), 0.into()],
                );
            }
            What::File(_) | What::Link(_) => {}
        }
    }
    Ok(())
}

/// Adds the call that makes a file and opens it.
///
/// # Errors
/// A path outside the private folders.
pub fn open(path: &[u8], folders: &[PathBuf], batch: &mut Batch) -> Result<RetOf, Error> {
    const RESOLVE_NO_SYMLINKS: u64 = 4;
    allowed(path, folders)?;
    let path = batch.c_string(path);
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC;
    // struct open_how: flags, mode, resolve.
    let how = [flags as u64, 0o600, RESOLVE_NO_SYMLINKS];
    let how = batch.data(&how.map(u64::to_le_bytes).concat());
    Ok(batch.must(
        "making a file of the session",
        libc::SYS_openat2,
        &[libc::AT_FDCWD.into(), path.into(), how.into(), 24.into()],
    ))
}

/// Adds the calls that come when all content is there: links, permissions, times. Paths were checked by
/// [`make_folders`].
pub fn finish(files: &[PrivateFile], batch: &mut Batch) {
    let mut first: HashSet<ObjectId> = HashSet::new();
    let mut by_object: std::collections::HashMap<ObjectId, &[u8]> = std::collections::HashMap::new();
    // Children before parents: making an entry changes its folder's time.
    for file in files.iter().rev() {
        let path = batch.c_string(&file.path);
        match &file.what {
            What::Link(to) => {
                let to = batch.c_string(to);
                batch.may("making a link", libc::SYS_symlink, &[to.into(), path.into()]);
                continue;
            }
            What::File(object) => {
                if !first.insert(*object)
                    && let Some(other) = by_object.get(object)
                {
                    let other = batch.c_string(other);
                    batch.may("making a hard link", libc::SYS_link, &[path.into(), other.into()]);
                    batch.may("making a hard link", libc::SYS_link, &[other.into(), path.into()]);
                }
                by_object.insert(*object, &file.path);
            }
            What::Folder | What::Fifo => {}
        }
        batch.may("setting permissions", libc::SYS_chmod, &[path.into(), file.mode.into()]);
        let mut times = Vec::with_capacity(32);
        for _ in 0..2 {
            times.extend_from_slice(&file.modified.0.to_le_bytes());
            times.extend_from_slice(&file.modified.1.to_le_bytes());
        }
        let times = batch.data(&times);
        batch.may(
            "setting a file's time",
            libc::SYS_utimensat,
            &[libc::AT_FDCWD.into(), path.into(), times.into(), 0.into()],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse() {
        let text = "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n";
        assert_eq!(parse_devices(text), HashSet::from([libc::makedev(254, 1), libc::makedev(0, 21)]));
    }

    #[test]
    fn paths_are_held_to_the_pods_own_folders() {
        let folders = [PathBuf::from("/tmp"), PathBuf::from("/run")];
        for good in ["/tmp/x", "/run/user/7/bus", "/tmp/a/b"] {
            assert!(allowed(good.as_bytes(), &folders).is_ok(), "{good}");
        }
        for bad in ["/home/me/.bashrc", "/tmp/../home/me/x", "tmp/x", "/tmpfoo", "", "/"] {
            assert!(allowed(bad.as_bytes(), &folders).is_err(), "{bad}");
        }
    }
}
