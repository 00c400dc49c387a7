//! What lies in the pod's private folders (/tmp, /run, /dev/shm, XDG_RUNTIME_DIR), carried with the session.
//!
//! Read and written from outside, through `/proc/INIT/root`, while nothing in the pod runs. Sockets are
//! left out: whoever is bound to one makes it anew. What comes from another machine is not trusted: only
//! plain paths below the private folders are written, and symbolic links come last, so that nothing is
//! ever written through one.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};

use crate::bundle::MAX_PART;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file with this content.
    File(Vec<u8>),
    /// Another name of the file at this path.
    Link(Vec<u8>),
    /// A symbolic link to this path.
    Symlink(Vec<u8>),
    /// A FIFO.
    Fifo,
}

/// One entry; folders come before what lies in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Absolute path in the pod.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Last modification: seconds and nanoseconds.
    pub mtime: (i64, i64),
}

/// The folders that are carried, for a session with this XDG_RUNTIME_DIR.
#[must_use]
pub fn folders(runtime_dir: &[u8]) -> Vec<PathBuf> {
    let runtime = PathBuf::from(OsStr::from_bytes(runtime_dir));
    let mut list: Vec<PathBuf> = ["/tmp", "/run", "/dev/shm"].map(PathBuf::from).to_vec();
    if !list.iter().any(|folder| runtime.starts_with(folder)) {
        list.push(runtime);
    }
    list
}

/// Reads everything below these folders of the pod; `skip` are folders that are not private (a home
/// that was bound there).
///
/// # Errors
/// What could not be read, or more than can be carried.
pub fn capture(root: &Path, folders: &[PathBuf], skip: &Path) -> io::Result<Vec<Entry>> {
    let mut walk = Walk { root, skip, entries: Vec::new(), seen: HashMap::new(), bytes: 0 };
    for folder in folders {
        walk.folder(folder)?;
    }
    Ok(walk.entries)
}

struct Walk<'a> {
    root: &'a Path,
    skip: &'a Path,
    entries: Vec<Entry>,
    seen: HashMap<(u64, u64), Vec<u8>>,
    bytes: usize,
}

fn naming<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

impl Walk<'_> {
    fn folder(&mut self, inside: &Path) -> io::Result<()> {
        let outside = outside(self.root, inside);
        let mut names: Vec<_> = naming(inside, fs::read_dir(&outside).and_then(Iterator::collect))?;
        names.sort_by_key(fs::DirEntry::file_name);
        for name in names {
            let path = inside.join(name.file_name());
            if path == self.skip {
                continue;
            }
            naming(&path, self.entry(&path, &name.path()))?;
        }
        Ok(())
    }

    fn entry(&mut self, inside: &Path, outside: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(outside)?;
        let kind = found.file_type();
        let path = inside.as_os_str().as_bytes().to_vec();
        let kind = if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            Kind::Symlink(fs::read_link(outside)?.into_os_string().into_vec())
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_file() {
            let key = (found.dev(), found.ino());
            match self.seen.get(&key) {
                Some(first) => Kind::Link(first.clone()),
                None => {
                    self.bytes += found.len() as usize;
                    if self.bytes > MAX_PART / 2 {
                        let most = MAX_PART >> 21;
                        let text = format!("the session's temporary files take more than {most} MiB");
                        return Err(io::Error::other(text));
                    }
                    if found.nlink() > 1 {
                        self.seen.insert(key, path.clone());
                    }
                    Kind::File(fs::read(outside)?)
                }
            }
        } else {
            return Ok(()); // sockets
        };
        let is_folder = kind == Kind::Folder;
        self.entries.push(Entry {
            path,
            kind,
            mode: found.mode() & 0o7777,
            mtime: (found.mtime(), found.mtime_nsec()),
        });
        if is_folder { self.folder(inside) } else { Ok(()) }
    }
}

fn outside(root: &Path, inside: &Path) -> PathBuf {
    root.join(inside.strip_prefix("/").unwrap_or(inside))
}

/// Writes the entries into a new pod.
///
/// # Errors
/// What could not be written; an entry that lies outside the folders or is no plain path.
pub fn restore(root: &Path, folders: &[PathBuf], entries: &[Entry]) -> io::Result<()> {
    for entry in entries {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        let paths = [
            Some(path),
            if let Kind::Link(to) = &entry.kind { Some(Path::new(OsStr::from_bytes(to))) } else { None },
        ];
        for path in paths.into_iter().flatten() {
            let plain = path.is_absolute()
                && path.components().skip(1).all(|c| matches!(c, Component::Normal(_)))
                && !entry.path.contains(&0);
            if !plain || !folders.iter().any(|folder| path.starts_with(folder) && path != folder) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} is no path of a private folder", path.display()),
                ));
            }
        }
    }
    let links = |entry: &&Entry| matches!(entry.kind, Kind::Symlink(_));
    for entry in entries.iter().filter(|e| !links(e)).chain(entries.iter().filter(links)) {
        let path = Path::new(OsStr::from_bytes(&entry.path));
        naming(path, write(root, path, entry))?;
    }
    // Folders get their times and permissions last, the innermost first.
    for entry in entries.iter().rev().filter(|e| e.kind == Kind::Folder) {
        let path = outside(root, Path::new(OsStr::from_bytes(&entry.path)));
        set_times(&path, entry)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

fn write(root: &Path, inside: &Path, entry: &Entry) -> io::Result<()> {
    let path = outside(root, inside);
    match &entry.kind {
        Kind::Folder => match fs::create_dir(&path) {
            // The pod has some folders from the beginning; a link in their place would be an attack.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(&path)?.is_dir() => {
                Ok(())
            }
            other => other,
        },
        Kind::File(content) => {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(content)?;
            file.set_permissions(fs::Permissions::from_mode(entry.mode))?;
            set_times(&path, entry)
        }
        Kind::Link(to) => fs::hard_link(outside(root, Path::new(OsStr::from_bytes(to))), &path),
        Kind::Symlink(to) => {
            std::os::unix::fs::symlink(OsStr::from_bytes(to), &path)?;
            set_times(&path, entry)
        }
        Kind::Fifo => {
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
            set_times(&path, entry)
        }
    }
}

fn set_times(path: &Path, entry: &Entry) -> io::Result<()> {
    let time = TimeSpec::new(entry.mtime.0, entry.mtime.1.clamp(0, 999_999_999));
    utimensat(nix::fcntl::AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = [PathBuf::from("/tmp")];
        fs::create_dir_all(from.path().join("tmp/a/b")).unwrap();
        fs::create_dir_all(from.path().join("tmp/home/user")).unwrap();
        fs::create_dir_all(to.path().join("tmp")).unwrap();
        let file = from.path().join("tmp/a/b/file");
        fs::write(&file, "content").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&file, from.path().join("tmp/z")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.path().join("tmp/a/link")).unwrap();
        nix::unistd::mkfifo(&from.path().join("tmp/fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.path().join("tmp/socket")).unwrap();
        let entries = capture(from.path(), &folder, Path::new("/tmp/home/user")).unwrap();
        restore(to.path(), &folder, &entries).unwrap();
        assert_eq!(capture(to.path(), &folder, Path::new("/none")).unwrap(), entries);
        let copy = fs::metadata(to.path().join("tmp/a/b/file")).unwrap();
        assert_eq!((copy.nlink(), copy.mode() & 0o777), (2, 0o640));
        assert!(!to.path().join("tmp/socket").exists());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let to = tempfile::tempdir().unwrap();
        fs::create_dir_all(to.path().join("tmp")).unwrap();
        let entry = |path: &str, kind| Entry { path: path.into(), kind, mode: 0o600, mtime: (0, 0) };
        for path in ["/etc/x", "/tmp/../etc/x", "tmp/x", "/tmp", "/tmpx"] {
            let entries = [entry(path, Kind::File(b"x".to_vec()))];
            assert!(restore(to.path(), &[PathBuf::from("/tmp")], &entries).is_err(), "{path}");
        }
        let link = [entry("/tmp/l", Kind::Link(b"/etc/passwd".to_vec()))];
        assert!(restore(to.path(), &[PathBuf::from("/tmp")], &link).is_err());
        // A link can't be written through: it is made after everything else.
        let sneaky = [
            entry("/tmp/out", Kind::Symlink(to.path().as_os_str().as_bytes().to_vec())),
            entry("/tmp/out/file", Kind::File(b"x".to_vec())),
        ];
        assert!(restore(to.path(), &[PathBuf::from("/tmp")], &sneaky).is_err());
        assert!(!to.path().join("file").exists());
    }
}
