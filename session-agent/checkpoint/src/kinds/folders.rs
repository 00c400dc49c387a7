//! The folders of a process: its root, which chroot(2) changes, and its working directory.
//!
//! Both are folders of the session at some path, or folders that are gone: deleted ones, and those below /proc of a
//! process that has ended, which sandboxes take as a root because nothing can ever be found there. For what is gone
//! there is an empty folder that is deleted as soon as everybody is in it: names are not found in it and can't be
//! made. (In one of an ended process looking for a name fails with ESRCH instead of ENOENT.)
//!
//! Refused: a folder that is still there, but has no path in the session any more, because something is mounted over it
//! or it was unmounted; and one that is missing at the target or can't be entered there, since the program would write
//! and delete in another folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use roam_sys::batch::Batch;
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::gather::relative;
use super::paths;
use crate::pod::Pod;

const DELETED: &[u8] = b" (deleted)";

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    /// What it takes for `/`.
    pub root: Folder,
    /// Its working directory.
    pub current: Folder,
}

/// One of the folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folder {
    /// At this path of the pod.
    At(Vec<u8>),
    /// Nowhere any more. Who has the same device and inode has the same folder.
    Gone(u64, u64),
}

const ROOT: &str = "its root directory";
const CURRENT: &str = "its current directory";

/// Why a process can't be carried, and what helps.
pub type NoPath = (&'static str, &'static str);

const NO_ROOT: NoPath = (
    "its root directory can't be found in the session any more: something was mounted over it, or it was unmounted",
    "Close the program and start it again.",
);
const NO_CURRENT: NoPath = (
    "its current directory can't be found in the session any more: something was mounted over it, or it was unmounted",
    "Go to another folder in the program, then try again.",
);

/// Where a process stands, or why that can't be carried.
///
/// # Errors
/// If the process is gone, or may not be looked at.
pub fn of(host: i32, pod: &dyn Pod) -> io::Result<Result<Folders, NoPath>> {
    let tree = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(pod.root())?;
    let one = |which: &str| -> io::Result<Option<Folder>> {
        let path = format!("/proc/{host}/{which}");
        let name = std::fs::read_link(&path)?.into_os_string();
        let folder = std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(&path)?;
        place(name.as_bytes(), folder.as_fd(), tree.as_fd())
    };
    Ok(match (one("root")?, one("cwd")?) {
        (Some(root), Some(current)) => Ok(Folders { root, current }),
        (None, _) => Err(NO_ROOT),
        (_, None) => Err(NO_CURRENT),
    })
}

fn place(
    name: &[u8],
    folder: std::os::fd::BorrowedFd<'_>,
    tree: std::os::fd::BorrowedFd<'_>,
) -> io::Result<Option<Folder>> {
    let own = descriptor::stat(folder)?;
    let gone = Folder::Gone(own.st_dev, own.st_ino);
    if own.st_nlink == 0 || name.ends_with(DELETED) {
        return Ok(Some(gone));
    }
    let there = descriptor::stat_at(tree, &relative(name)?);
    if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)) {
        return Ok(Some(Folder::At(name.to_vec())));
    }
    // Folders below /proc keep their links when their process ends.
    Ok((descriptor::file_system(folder)? == libc::PROC_SUPER_MAGIC).then_some(gone))
}

impl Folder {
    fn is_top(&self) -> bool {
        *self == Self::At(b"/".to_vec())
    }
}

/// The stand-ins for folders that are gone, while a session is built.
#[derive(Debug, Default)]
pub struct StandIns(BTreeMap<(u64, u64), Vec<u8>>);

impl StandIns {
    /// For these processes. The pod's /dev is made anew on each machine: that something was made and deleted there
    /// is seen by no one.
    pub fn of<'a>(all: impl Iterator<Item = &'a Folders>) -> Self {
        let mut stand_ins = BTreeMap::new();
        for folder in all.flat_map(|folders| [&folders.root, &folders.current]) {
            if let Folder::Gone(device, inode) = folder {
                let number = stand_ins.len();
                stand_ins
                    .entry((*device, *inode))
                    .or_insert_with(|| format!("/dev/.roam-gone-{number}").into_bytes());
            }
        }
        Self(stand_ins)
    }

    /// Adds the calls that make them.
    pub fn make(&self, batch: &mut Batch) {
        for path in self.0.values() {
            let path = batch.c_string(path);
            batch.must("making a folder", libc::SYS_mkdir, &[path.into(), 0o700.into()]);
        }
    }

    /// Adds the calls that delete them: all who are to stand in them do.
    pub fn delete(&self, batch: &mut Batch) {
        for path in self.0.values() {
            let path = batch.c_string(path);
            batch.must("deleting a folder", libc::SYS_rmdir, &[path.into()]);
        }
    }

    fn path<'a>(&'a self, folder: &'a Folder) -> &'a [u8] {
        match folder {
            Folder::At(path) => path,
            Folder::Gone(device, inode) => self.0.get(&(*device, *inode)).map_or(b"/", Vec::as_slice),
        }
    }
}

/// A folder of a process that this machine does not have: which of them, why, and what to do.
pub type Missing = (&'static str, String, String);

impl Folders {
    /// Which of them this machine, or a pod on it, does not have below its root.
    pub fn missing(&self, root: &Path) -> Vec<Missing> {
        let missing = self.wanted().filter_map(|(which, path)| {
            let (reason, remedy) = lacks(root, path)?;
            Some((which, reason, remedy))
        });
        missing.collect()
    }

    /// What a target must have of them: which it is, and the path.
    pub fn wanted(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let all = [(ROOT, &self.root), (CURRENT, &self.current)];
        all.into_iter().filter_map(|(which, folder)| match folder {
            Folder::At(path) => Some((which, path.as_slice())),
            Folder::Gone(..) => None,
        })
    }

    /// Adds the call that enters the working directory. The process is in the pod's own root still.
    pub fn enter_current(&self, stand_ins: &StandIns, batch: &mut Batch) {
        let top = batch.c_string(b"/");
        batch.must("going to the root", libc::SYS_chdir, &[top.into()]);
        let path = batch.c_string(stand_ins.path(&self.current));
        let doing = "entering the working directory";
        // Anywhere else the program would write and delete what is not meant.
        batch.must(doing, libc::SYS_chdir, &[path.into()]);
    }

    /// Adds the call that changes the root. From then on the process finds no path of the pod's any more.
    pub fn enter_root(&self, stand_ins: &StandIns, batch: &mut Batch) {
        if !self.root.is_top() {
            let path = batch.c_string(stand_ins.path(&self.root));
            batch.must("changing the root directory", libc::SYS_chroot, &[path.into()]);
        }
    }
}

/// Whether a machine lacks a folder below `root` that can be entered; if so, why, and what to do.
pub(super) fn lacks(root: &Path, path: &[u8]) -> Option<(String, String)> {
    let error = enter(root, path).err()?;
    let name = OsStr::from_bytes(path).display();
    let reason = format!("the folder {name} can't be entered on this machine: {error}");
    Some((reason, "Make the folder there, one that you may enter, then try again.".to_owned()))
}

/// Whether a process that is just made may enter a folder.
fn enter(root: &Path, path: &[u8]) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let folder = paths::open_in(root, path, flags)?;
    // It may, whatever the permissions of the user's own folders say.
    if descriptor::stat(folder.as_fd())?.st_uid == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    // Looking for a name, be it this one, takes what entering takes.
    paths::open_in(root, &[path, b"/."].concat(), flags).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::Here;

    fn look(path: &std::path::Path) -> (libc::stat, std::fs::File) {
        let file = std::fs::File::options().read(true).custom_flags(libc::O_PATH).open(path).unwrap();
        (descriptor::stat(file.as_fd()).unwrap(), file)
    }

    #[test]
    fn a_folder_is_found_or_gone_or_neither() {
        let tree = look(std::path::Path::new("/")).1;
        let dir = tempfile::tempdir().unwrap();
        let (stat, file) = look(dir.path());
        let name = dir.path().as_os_str().as_bytes();
        let find = |name: &[u8]| place(name, file.as_fd(), tree.as_fd()).unwrap();
        assert_eq!(find(name), Some(Folder::At(name.to_vec())));
        assert_eq!(find(b"/"), None);
        std::fs::remove_dir(dir.path()).unwrap();
        assert_eq!(find(name), Some(Folder::Gone(stat.st_dev, stat.st_ino)));
    }

    #[test]
    fn what_proc_shows_of_an_ended_process_is_gone() {
        let tree = look(std::path::Path::new("/")).1;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let name = format!("/proc/{}/fdinfo", child.id());
        let (_, file) = look(std::path::Path::new(&name));
        let find = || place(name.as_bytes(), file.as_fd(), tree.as_fd()).unwrap();
        assert_eq!(find(), Some(Folder::At(name.clone().into_bytes())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(find(), Some(Folder::Gone(..))));
    }

    #[test]
    fn this_process_stands_where_it_stands() {
        let folders = of(std::process::id() as i32, &Here::new()).unwrap().unwrap();
        assert_eq!(folders.root, Folder::At(b"/".to_vec()));
        let current = std::env::current_dir().unwrap().into_os_string();
        assert_eq!(folders.current, Folder::At(current.as_bytes().to_vec()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("here");
        let at = || Folder::At(path.as_os_str().as_bytes().to_vec());
        let folders = Folders { root: Folder::At(b"/".to_vec()), current: at() };
        let missing = folders.missing(Path::new("/"));
        assert_eq!(missing.iter().map(|one| one.0).collect::<Vec<_>>(), ["its current directory"]);
        assert!(missing[0].1.contains("here can't be entered"), "{}", missing[0].1);
        std::fs::write(&path, b"no folder").unwrap();
        assert_eq!(folders.missing(Path::new("/")).len(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(folders.missing(Path::new("/")), []);
        assert_eq!(Folders { root: at(), current: Folder::Gone(1, 2) }.missing(Path::new("/")), []);
    }

    #[test]
    fn one_stand_in_serves_all_that_stood_in_one_folder() {
        let gone = |inode: u64| Folder::Gone(1, inode);
        let all = [(2, 2), (2, 3)].map(|(a, b)| Folders { root: gone(a), current: gone(b) });
        let stand_ins = StandIns::of(all.iter());
        assert_eq!(stand_ins.0.len(), 2);
        assert_eq!(stand_ins.path(&gone(2)), stand_ins.path(&all[0].current));
        assert_ne!(stand_ins.path(&gone(2)), stand_ins.path(&gone(3)));
    }
}
