//! Watches on files: inotify(7).
//!
//! fdinfo tells inodes, not paths; `find_inode` finds the paths. Watches get their numbers again by
//! adding and removing others in between. Refused: a watch whose path can't be found; events that are
//! not read yet (for a moment only).

use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::find_inode;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A watcher of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its watches, by ascending number.
    pub watches: Vec<Watch>,
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Its number.
    pub wd: i32,
    /// What is watched.
    pub path: Vec<u8>,
    /// For which events.
    pub mask: u32,
}

/// What inotify_add_watch takes of the mask that fdinfo shows.
const MASK: u32 = libc::IN_ALL_EVENTS | libc::IN_EXCL_UNLINK | libc::IN_ONESHOT;
/// Numbers only grow; a program that used up more has to be restarted first.
const HIGHEST: i32 = 20_000;

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("inotify ") || look.is_anonymous("inotify")
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        watches(look, known, find_inode::Effort::Thorough).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let unread = descriptor::readable(look.file.as_fd())
            .map_err(|e| Error::system("looking at a watcher of files", e))?;
        if unread > 0 {
            return Err(Stop::cannot("it has events that are not read yet", "Try again in a moment."));
        }
        Ok(Self { watches: watches(look, &at.known, find_inode::Effort::Quick)? })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        let flags = libc::IN_NONBLOCK;
        let fd = at.batch(0)?.must("inotify_init1", libc::SYS_inotify_init1, &[flags.into()]);
        at.place(fd, slot);
        let mut last = 0;
        for watch in &self.watches {
            if watch.wd <= last || watch.wd > HIGHEST {
                return Err(Error::Image("a watcher of files is damaged".into()));
            }
            for wd in last + 1..watch.wd {
                add(b"/", libc::IN_DELETE_SELF, slot, at)?;
                let remove = [slot.into(), wd.into()];
                at.batch(0)?.must("removing a watch", libc::SYS_inotify_rm_watch, &remove);
            }
            add(&watch.path, watch.mask, slot, at)?;
            last = watch.wd;
        }
        // Each removal left an event behind.
        for _ in 0..(last / 200 + 1) {
            let batch = at.batch(4096)?;
            let room = batch.room(4096);
            let read = [slot.into(), room.into(), 4096u32.into()];
            batch.may("dropping events", libc::SYS_read, &read);
        }
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn add(path: &[u8], mask: u32, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let batch = at.batch(path.len() + 1)?;
    let path = batch.c_string(path);
    let args = [slot.into(), path.into(), mask.into()];
    batch.must("watching a file again", libc::SYS_inotify_add_watch, &args);
    Ok(())
}

fn watches(look: &Look, known: &Known<'_>, effort: find_inode::Effort) -> Result<Vec<Watch>, Stop> {
    let found = look.info.inotify();
    let wanted: Vec<(u64, u64)> = found.iter().map(|w| (w.device, w.inode)).collect();
    let paths = find_inode::paths(&wanted, known, effort);
    let mut watches = Vec::with_capacity(found.len());
    for (watch, path) in found.iter().zip(paths) {
        let path = path.ok_or_else(|| {
            Stop::cannot(
                format!("the file or folder that it watches (inode {}) can't be found", watch.inode),
                "Close the folder or file in the program, then try again.",
            )
        })?;
        watches.push(Watch { wd: watch.wd, path, mask: watch.mask & MASK });
    }
    if watches.iter().any(|w| w.wd > HIGHEST) {
        return Err(Stop::cannot("it has used up too many watches", "Restart the program first."));
    }
    watches.sort_by_key(|w| w.wd);
    Ok(watches)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use std::os::fd::AsFd;

    #[test]
    fn watches_keep_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::File::open(dir.path()).unwrap();
        let file = dir.path().join("watched");
        std::fs::write(&file, b"x").unwrap();
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
        inotify.add_watch(dir.path(), AddWatchFlags::IN_CREATE).unwrap();
        let dropped = inotify.add_watch("/", AddWatchFlags::IN_CREATE).unwrap();
        inotify.rm_watch(dropped).unwrap();
        inotify.add_watch(&file, AddWatchFlags::IN_MODIFY).unwrap();
        inotify.read_events().unwrap();
        let mut session = Session::of(&[inotify.as_fd(), open.as_fd()]);
        session.round_trip();
        std::fs::write(dir.path().join("new"), b"").unwrap();
        let event = session.read(0, 64);
        assert_eq!(i32::from_ne_bytes(event[..4].try_into().unwrap()), 1);
        assert_eq!(&event[16..19], b"new");
        std::fs::write(&file, b"changed").unwrap();
        let event = session.read(0, 16);
        assert_eq!(i32::from_ne_bytes(event[..4].try_into().unwrap()), 3);
    }
}
