//! Files that lie in memory only: memfd, and files that were unlinked while open.
//!
//! Each is a shared object (see `crate::objects`), because it may be mapped too; its bytes travel like
//! pages. Every open file of it is opened once more through the object's own descriptor.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use roam_sys::batch::Batch;
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::content;
use crate::error::Error;
use crate::objects::{Object, ObjectId, ObjectKind};

/// An open file of a shared object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which object.
    pub object: ObjectId,
    /// The offset.
    pub position: i64,
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFREG
            && look.stat.st_nlink == 0
            && look.link().ends_with(DELETED)
            && look.info.value("Pid").is_none()
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        refuse_huge(look)?;
        readable(look).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        refuse_huge(look)?;
        let (device, inode) = as_mapped(look)?;
        // Known from a mapping already, perhaps: only a descriptor tells its size and seals.
        let known = at.objects.find(device, inode).filter(|id| at.objects.has_file(*id));
        let object = match known {
            Some(object) => {
                // It may have been met when the session last stood still.
                at.objects.resized(object, look.stat.st_size as u64);
                object
            }
            None => {
                let object = Object { kind: kind(look)?, size: look.stat.st_size as u64 };
                at.objects.register(device, inode, object, Some(readable(look)?))
            }
        };
        Ok(Self { object, position: look.info.pos })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let path = format!("/proc/self/fd/{}", at.object(self.object)?);
        let flags = paths::reopened(at.file(id)?.flags) & !libc::O_DIRECT;
        at.open(path.as_bytes(), flags, self.position, at.slot(id))
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

const DELETED: &[u8] = b" (deleted)";

/// Device and inode as a mapping of the file shows them; on btrfs and overlayfs stat(2) has another device.
fn as_mapped(look: &Look) -> Result<(u64, u64), Stop> {
    let on_tmpfs = fstatfs(&look.file).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
    if on_tmpfs {
        return Ok(look.inode());
    }
    // What can't be mapped is not known from a mapping.
    Ok(content::maps_name(&readable(look)?.into())
        .map_or(look.inode(), |((major, minor), inode)| (libc::makedev(major, minor), inode)))
}

/// Pages of the machine's pool: the target's may be empty, and only mappings can fill them.
fn refuse_huge(look: &Look) -> Result<(), Stop> {
    match descriptor::file_system(look.file.as_fd()) {
        Ok(libc::HUGETLBFS_MAGIC) => Err(Stop::cannot(
            "pages of the machine's pool of huge pages can't be carried",
            "Start the program without huge pages (transparent ones are no obstacle).",
        )),
        Ok(_) => Ok(()),
        Err(e) => Err(Error::system("looking at an unlinked file", e).into()),
    }
}

/// A descriptor that can read it, whatever this one may.
fn readable(look: &Look) -> Result<OwnedFd, Stop> {
    let file = if look.reads() && look.info.flags & libc::O_DIRECT == 0 {
        look.file.try_clone()
    } else {
        descriptor::reopen(look.file.as_fd(), libc::O_RDONLY)
    };
    file.map_err(|e| {
        Stop::cannot(
            format!("the content of the unlinked file can't be read: {e}"),
            "Close the file in the program, then try again.",
        )
    })
}

fn kind(look: &Look) -> Result<ObjectKind, Stop> {
    let path = look.link().strip_suffix(DELETED).unwrap_or_default();
    let Some(name) = path.strip_prefix(b"/memfd:") else {
        return Ok(ObjectKind::Unlinked { path: path.to_vec(), mode: Some(look.stat.st_mode & 0o7777) });
    };
    Ok(as_seen(ObjectKind::memory(name), &look.file))
}

/// The same kind with the seals and permissions that a descriptor of it tells.
pub(super) fn as_seen(kind: ObjectKind, file: &impl AsFd) -> ObjectKind {
    match kind {
        ObjectKind::Memfd { name, .. } => {
            let seals = descriptor::fcntl(file.as_fd(), libc::F_GET_SEALS, 0).unwrap_or(0) as u32;
            let mode = descriptor::stat(file.as_fd()).ok().map(|stat| stat.st_mode & 0o7777);
            ObjectKind::Memfd { name, seals, mode }
        }
        other => other,
    }
}

/// Adds the calls by which a memfd of this number gets its permissions and seals, once its content is there.
pub fn finish(number: i32, seals: u32, mode: Option<u32>, batch: &mut Batch) {
    if let Some(mode) = mode {
        batch.must(
            "setting the permissions of shared memory",
            libc::SYS_fchmod,
            &[number.into(), mode.into()],
        );
    }
    let add = |seals: u32| [number.into(), libc::F_ADD_SEALS.into(), seals.into()];
    // It forbids changes of the permissions to execute, and if there are any, all writing, too. Kernels before 6.3
    // don't know it.
    let exec = seals & libc::F_SEAL_EXEC as u32;
    if exec != 0 {
        batch.may("sealing shared memory", libc::SYS_fcntl, &add(exec));
    }
    if seals != exec {
        batch.must("sealing shared memory", libc::SYS_fcntl, &add(seals - exec));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use crate::objects::ObjectKind;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    #[test]
    fn one_memfd_opened_twice_stays_one() {
        let memfd = memfd_create("shared", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        descriptor::write(memfd.as_fd(), b"0123456789").unwrap();
        let reader = descriptor::reopen(memfd.as_fd(), libc::O_RDONLY).unwrap();
        let mut session = Session::of(&[memfd.as_fd(), reader.as_fd()]);
        let objects = session.objects();
        assert_eq!(objects.len(), 1);
        assert!(matches!(&objects[0].kind, ObjectKind::Memfd { name, .. } if name == b"shared"));
        session.round_trip();
        assert_eq!(session.read(1, 4), b"0123");
        session.write(0, b"!");
    }

    #[test]
    fn an_unlinked_file_keeps_content_and_mode_of_access() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone");
        let file = std::fs::File::options().append(true).create_new(true).open(&path).unwrap();
        descriptor::write(file.as_fd(), b"abc").unwrap();
        let reader = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut session = Session::of(&[file.as_fd(), reader.as_fd()]);
        session.round_trip();
        session.write(0, b"def");
        assert_eq!(session.read(1, 10), b"abcdef");
    }
}
