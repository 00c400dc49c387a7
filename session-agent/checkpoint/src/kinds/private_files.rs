//! The files of the pod's own folders (/tmp, /run, /dev/shm, XDG_RUNTIME_DIR): they are nobody else's,
//! so they travel.
//!
//! Their content, permissions, times and the user's extended attributes travel; their owner is the one user
//! of a session.
//!
//! Their content travels like shared memory ([`crate::objects`]), since programs may map it. Sockets are
//! made anew by whoever is bound to them. Paths from an image are held to the pod's own folders:
//! folders are made first, symbolic links last, so that none leads elsewhere meanwhile.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use roam_sys::batch::{Batch, Data, RetOf};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::kinds::descriptors::Holder;
use crate::kinds::leases::Leased;
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
    /// Last access: seconds and nanoseconds.
    pub accessed: (i64, i64),
    /// Last modification.
    pub modified: (i64, i64),
    /// Extended attributes of the user.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
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

/// The pod's own folders: its memory file systems, but for the root and /dev, which every pod has alike.
///
/// # Errors
/// If the mounts can't be listed.
pub fn folders(pod: &dyn Pod) -> Result<Vec<PathBuf>, Error> {
    let list = |pid: &str| {
        roam_sys::procfs::read(&format!("/proc/{pid}/mountinfo"))
            .map(|text| parse_mounts(&text))
            .map_err(|e| Error::system("listing the session's file systems", e))
    };
    let machine: HashSet<u64> = list("self")?.into_iter().map(|m| m.device).collect();
    let mut mounts = list(&pod.init().to_string())?;
    // One that shows up at several places (a pod's tree is itself bound into it) counts where it is nearest.
    mounts.sort_by_key(|m| m.path.as_os_str().len());
    let mut seen = machine;
    let mut own = Vec::new();
    for mount in mounts {
        let in_dev = mount.path.starts_with("/dev") && mount.path != Path::new("/dev/shm");
        if seen.insert(mount.device) && mount.kind == b"tmpfs" && !in_dev && mount.path != Path::new("/") {
            own.push(mount.path);
        }
    }
    own.sort();
    Ok(own)
}

/// Lists the private folders, parents before children, and registers the files' content.
///
/// # Errors
/// If a file can't be read.
pub fn capture(pod: &dyn Pod, holders: &[Holder], objects: &mut Objects) -> Result<Vec<PrivateFile>, Error> {
    let mut found = Vec::new();
    let root = pod.root();
    let folders = folders(pod)?;
    let leased = Leased::of(holders, &folders)?;
    for folder in &folders {
        let outside = in_root(&root, folder.as_os_str().as_bytes());
        fs::metadata(&outside)
            .and_then(|meta| walk(&outside, folder, meta.dev(), (&leased, objects), &mut found))
            .map_err(|e| Error::system(format!("reading the session's files in {}", folder.display()), e))?;
    }
    Ok(found)
}

struct Mount {
    device: u64,
    path: PathBuf,
    kind: Vec<u8>,
}

/// The lines of mountinfo (proc(5)): … major:minor root path … - type ….
fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut words = line.split(|b| *b == b' ');
            let device = std::str::from_utf8(words.nth(2)?).ok()?;
            let (major, minor) = device.split_once(':')?;
            let path = unescape(words.nth(1)?);
            let kind = words.skip_while(|word| *word != b"-").nth(1)?;
            Some(Mount {
                device: libc::makedev(major.parse().ok()?, minor.parse().ok()?),
                path: PathBuf::from(std::ffi::OsString::from_vec(path)),
                kind: kind.to_vec(),
            })
        })
        .collect()
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let octal =
            text.get(at + 1..at + 4).and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        match (text[at], octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn walk(
    outside: &Path,
    inside: &Path,
    device: u64,
    (leased, objects): (&Leased, &mut Objects),
    found: &mut Vec<PrivateFile>,
) -> io::Result<()> {
    for entry in fs::read_dir(outside)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.dev() != device {
            continue; // bound in from the machine, or a private folder with a turn of its own
        }
        let path = inside.join(entry.file_name());
        let outside = entry.path();
        let open = Opened::take(&outside, &meta)?;
        let added = add(&outside, &path, &meta, (leased, objects), found);
        open.give_back()?;
        added?;
    }
    Ok(())
}

fn add(
    outside: &Path,
    path: &Path,
    meta: &fs::Metadata,
    (leased, objects): (&Leased, &mut Objects),
    found: &mut Vec<PrivateFile>,
) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        What::Folder
    } else if kind.is_symlink() {
        What::Link(fs::read_link(outside)?.into_os_string().into_vec())
    } else if kind.is_fifo() {
        What::Fifo
    } else if kind.is_file() {
        let file = match leased.file(meta.dev(), meta.ino())? {
            Some(file) => file,
            None => fs::File::options().read(true).custom_flags(libc::O_NOATIME).open(outside)?,
        };
        let object = Object {
            kind: ObjectKind::Private { path: path.as_os_str().as_bytes().to_vec() },
            size: meta.len(),
        };
        What::File(objects.register(meta.dev(), meta.ino(), object, Some(file.into())))
    } else {
        return Ok(());
    };
    let is_folder = what == What::Folder;
    found.push(PrivateFile {
        path: path.as_os_str().as_bytes().to_vec(),
        mode: meta.mode() & 0o7777,
        accessed: (meta.atime(), meta.atime_nsec()),
        modified: (meta.mtime(), meta.mtime_nsec()),
        attributes: roam_sys::xattr::of_user(outside)?,
        what,
    });
    if is_folder {
        walk(outside, path, meta.dev(), (leased, objects), found)?;
    }
    Ok(())
}

/// A file or folder that its owner may read for a moment, if it was not so already.
struct Opened<'a>(Option<(&'a Path, u32)>);

impl<'a> Opened<'a> {
    fn take(path: &'a Path, meta: &fs::Metadata) -> io::Result<Self> {
        let needed = match meta.file_type() {
            kind if kind.is_dir() => 0o500,
            kind if kind.is_file() => 0o400,
            _ => 0,
        };
        let mode = meta.mode() & 0o7777;
        if mode & needed == needed {
            return Ok(Self(None));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode | needed))?;
        Ok(Self(Some((path, mode))))
    }

    fn give_back(self) -> io::Result<()> {
        let Some((path, mode)) = self.0 else { return Ok(()) };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
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

/// While the session still runs only its mapped files are known, not the folders that they are in.
fn make_parents(path: &[u8], folders: &[PathBuf], batch: &mut Batch) {
    let parents: Vec<&Path> = Path::new(std::ffi::OsStr::from_bytes(path)).ancestors().skip(1).collect();
    for parent in parents.into_iter().rev().filter(|p| folders.iter().any(|f| p.starts_with(f) && p != f)) {
        let parent = batch.c_string(parent.as_os_str().as_bytes());
        batch.may("making a folder", libc::SYS_mkdir, &[parent.into(), 0o700.into()]);
    }
}

/// Adds the call that makes a file without a name in the folder of this path. It fails where the file
/// system knows no such files, or the folder is gone.
///
/// # Errors
/// A path that is none.
pub fn open_nameless(path: &[u8], batch: &mut Batch) -> Result<RetOf, Error> {
    let parent = Path::new(std::ffi::OsStr::from_bytes(path)).parent();
    let parent = parent.filter(|p| p.is_absolute());
    let parent = parent.ok_or_else(|| Error::Image("an unlinked file was nowhere".into()))?;
    let parent = batch.c_string(parent.as_os_str().as_bytes());
    let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
    let args = [libc::AT_FDCWD.into(), parent.into(), flags.into(), 0o700.into()];
    Ok(batch.may("making a file without a name", libc::SYS_openat, &args))
}

/// Adds the call that makes a file and opens it.
///
/// # Errors
/// A path outside the private folders.
pub fn open(path: &[u8], folders: &[PathBuf], batch: &mut Batch) -> Result<RetOf, Error> {
    const RESOLVE_NO_SYMLINKS: u64 = 4;
    allowed(path, folders)?;
    make_parents(path, folders, batch);
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
                set_times(file, path, batch);
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
        for (name, value) in &file.attributes {
            let (name, data) = (batch.c_string(name), batch.data(value));
            let args = [path.into(), name.into(), data.into(), value.len().into(), 0u32.into()];
            batch.may("setting an extended attribute", libc::SYS_setxattr, &args);
        }
        batch.may("setting permissions", libc::SYS_chmod, &[path.into(), file.mode.into()]);
        set_times(file, path, batch);
    }
}

fn set_times(file: &PrivateFile, path: Data, batch: &mut Batch) {
    let times = [file.accessed, file.modified].map(|(s, ns)| [s.to_le_bytes(), ns.to_le_bytes()].concat());
    let times = batch.data(&times.concat());
    let args = [libc::AT_FDCWD.into(), path.into(), times.into(), libc::AT_SYMLINK_NOFOLLOW.into()];
    batch.may("setting a file's time", libc::SYS_utimensat, &args);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_parse() {
        let text =
            b"22 1 254:1 / / rw - ext4 /dev/vda1 rw\n23 22 0:21 / /run/a\\040b rw shared:1 - tmpfs x rw\n";
        let mounts = parse_mounts(text);
        assert_eq!(
            (mounts[0].device, mounts[0].kind.as_slice()),
            (libc::makedev(254, 1), b"ext4".as_slice())
        );
        assert_eq!(
            (mounts[1].path.as_path(), mounts[1].kind.as_slice()),
            (Path::new("/run/a b"), b"tmpfs".as_slice())
        );
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
