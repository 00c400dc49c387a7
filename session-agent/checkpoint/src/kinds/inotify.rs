//! Watches on files: inotify(7).
//!
//! fdinfo tells inodes, not paths; `find_inode` finds the paths. Watches get their numbers again by
//! adding and removing others in between. They are added last of all, in the process that has the watcher, so
//! that it sees nothing of what a restore does to files.
//!
//! Events that are not read yet can be seen only by taking them. In their place the program gets what the kernel
//! itself gives when it loses some: IN_Q_OVERFLOW, which means "look again". Refused: a watch whose path
//! can't be found.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::rc::Rc;

use roam_sys::batch::{Batch, Done};
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::descriptors::Descriptors;
use super::find_inode;
use super::gather::{Capture, Known};
use super::kernel_name::{self, Name};
use super::open_file::{FileId, Kind, Look, OpenFileKind, Stop};
use crate::error::Error;
use crate::stubs::Stubs;

/// A watcher of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its watches, by ascending number.
    pub watches: Vec<Watch>,
    /// There are events that are not read yet.
    pub unread: bool,
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Its number.
    pub wd: i32,
    /// What is watched.
    pub target: Target,
    /// For which events.
    pub mask: u32,
}

/// What a watch watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// What lies at this path.
    Path(Vec<u8>),
    /// A file without a name, which the watcher's process has open under this number.
    Number(i32),
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
        let watches = watches(look, &at.known, find_inode::Effort::Quick)?;
        Ok(Self { watches, unread: unread > 0 })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let (slot, flags) = (at.slot(id), libc::IN_NONBLOCK);
        let fd = at.batch(0)?.must("inotify_init1", libc::SYS_inotify_init1, &[flags.into()]);
        at.place(fd, slot);
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// One that nobody holds, because it is in flight, gets its watches here.
    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        match at.holder_of(id) {
            Some(_) => Ok(()),
            None => self.watch(at.slot(id), &mut |batch| at.run(None, batch)),
        }
    }
}

/// Adds all watches. Everything else of the session is made.
///
/// # Errors
/// A failed call, or an image that contradicts itself.
pub fn watch(image: &Descriptors, stubs: &mut dyn Stubs) -> Result<(), Error> {
    for (index, file) in image.files.iter().enumerate() {
        let Kind::Inotify(state) = &file.kind else { continue };
        let holder = image.tables.iter().find_map(|table| {
            let entry = table.entries.iter().find(|e| e.file.0 as usize == index)?;
            Some((table.pid, entry.number))
        });
        if let Some((pid, number)) = holder {
            state.watch(number, &mut |batch| stubs.run(pid, batch))?;
        }
    }
    Ok(())
}

/// Runs a batch in the process that has the watcher.
type Run<'a> = dyn FnMut(&Batch) -> Result<Done, Error> + 'a;
/// So many calls are run together.
const CALLS: usize = 2000;

impl State {
    fn watch(&self, number: i32, run: &mut Run<'_>) -> Result<(), Error> {
        // Something of which nobody else knows, to be watched in between.
        let mut batch = Batch::new();
        let name = batch.c_string(b"watched");
        let made = batch.must("making a file to watch", libc::SYS_memfd_create, &[name.into(), 0u32.into()]);
        let own = run(&batch)?.ret(made) as i32;
        let own_path = format!("/proc/self/fd/{own}").into_bytes();
        let mut batch = Batch::new();
        let mut last = 0;
        for watch in &self.watches {
            if watch.wd <= last || watch.wd > HIGHEST {
                return Err(Error::Image("a watcher of files is damaged".into()));
            }
            for wd in last + 1..watch.wd {
                add(&own_path, libc::IN_ACCESS, number, &mut batch);
                batch.must("removing a watch", libc::SYS_inotify_rm_watch, &[number.into(), wd.into()]);
                if batch.len() > CALLS {
                    run(&std::mem::take(&mut batch))?;
                }
            }
            match &watch.target {
                Target::Path(path) => add(path, watch.mask, number, &mut batch),
                Target::Number(open) => {
                    add(format!("/proc/self/fd/{open}").as_bytes(), watch.mask, number, &mut batch);
                }
            }
            if batch.len() > CALLS {
                run(&std::mem::take(&mut batch))?;
            }
            last = watch.wd;
        }
        run(&batch)?;
        // What the additions and removals left behind goes, all but the word of an overflow.
        if self.unread {
            // While it is made others go on using what is watched: the word may have to be taken out behind theirs.
            for attempt in 1..=TRIES {
                overflow(number, &own_path, last + attempt, run)?;
                if drop_events(number, EVENT, run)? {
                    break;
                }
            }
        } else {
            drop_events(number, 0, run)?;
        }
        let mut batch = Batch::new();
        batch.must("closing", libc::SYS_close, &[own.into()]);
        run(&batch).map(drop)
    }
}

/// Size of an event without a name.
const EVENT: u32 = 16;
/// How often an overflow is made.
const TRIES: i32 = 20;

/// Makes more events than the kernel keeps, with a watch of this number on the path.
fn overflow(number: i32, path: &[u8], wd: i32, run: &mut Run<'_>) -> Result<(), Error> {
    let most = roam_sys::procfs::read("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| String::from_utf8(text).ok()?.trim().parse::<u32>().ok())
        .ok_or_else(|| Error::Image("this machine does not say how many events it keeps".into()))?;
    let mut batch = Batch::new();
    // The file as its maker got it tells nobody of what is done through it; opened anew it does.
    let name = batch.c_string(path);
    let open = [libc::AT_FDCWD.into(), name.into(), (libc::O_RDWR | libc::O_CLOEXEC).into(), 0u32.into()];
    let opened = batch.must("opening the watched file", libc::SYS_openat, &open);
    let open = run(&batch)?.ret(opened) as i32;
    let mut batch = Batch::new();
    add(path, libc::IN_ACCESS | libc::IN_MODIFY, number, &mut batch);
    run(&batch)?;
    let mut left = most / 2 + 2;
    while left > 0 {
        let mut batch = Batch::new();
        let byte = batch.data(b"x");
        let args = [open.into(), byte.into(), 1u32.into(), 0u32.into()];
        // Two kinds in turn: the kernel joins what is alike.
        for _ in 0..left.min(CALLS as u32) {
            batch.must("writing", libc::SYS_pwrite64, &args);
            batch.must("reading", libc::SYS_pread64, &args);
        }
        left -= left.min(CALLS as u32);
        run(&batch)?;
    }
    let mut batch = Batch::new();
    batch.must("removing a watch", libc::SYS_inotify_rm_watch, &[number.into(), wd.into()]);
    batch.must("closing", libc::SYS_close, &[open.into()]);
    run(&batch).map(drop)
}

/// Reads events until only so many bytes of them are left. False if the word of an overflow was among them.
fn drop_events(number: i32, keep: u32, run: &mut Run<'_>) -> Result<bool, Error> {
    const PIECE: u32 = 64 << 10;
    loop {
        let mut batch = Batch::new();
        let count = batch.room(4);
        let ask = [number.into(), libc::FIONREAD.into(), count.into()];
        batch.must("asking for events", libc::SYS_ioctl, &ask);
        let waiting = run(&batch)?.u32(count);
        if waiting <= keep {
            return Ok(true);
        }
        let mut batch = Batch::new();
        let most = (waiting - keep).min(PIECE);
        let room = batch.room(most as usize);
        let read = batch.may("dropping events", libc::SYS_read, &[number.into(), room.into(), most.into()]);
        let done = run(&batch)?;
        match usize::try_from(done.ret(read)) {
            Ok(length) if keep == 0 || !tells_overflow(&done.bytes(room)[..length]) => {}
            // The next is longer than what is over (inotify(7)): no overflow is there any more.
            _ => return Ok(false),
        }
    }
}

/// Whether the word of an overflow is among these events.
fn tells_overflow(mut events: &[u8]) -> bool {
    // struct inotify_event: watch, mask, cookie, length of the name; the name.
    let word =
        |event: &[u8], at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().expect("four bytes"));
    while events.len() >= EVENT as usize {
        if word(events, 4) & libc::IN_Q_OVERFLOW != 0 {
            return true;
        }
        events = events.get(EVENT as usize + word(events, 12) as usize..).unwrap_or_default();
    }
    false
}

fn add(path: &[u8], mask: u32, number: i32, batch: &mut Batch) {
    let path = batch.c_string(path);
    let args = [number.into(), path.into(), mask.into()];
    batch.must("watching a file again", libc::SYS_inotify_add_watch, &args);
}

fn watches(look: &Look, known: &Known<'_>, effort: find_inode::Effort) -> Result<Vec<Watch>, Stop> {
    let found = look.info.inotify();
    let mut watches = Vec::with_capacity(found.len());
    let mut named = Vec::with_capacity(found.len());
    for watch in found {
        let name = Name { inode: (watch.device, watch.inode), handle: watch.handle.clone() };
        match nameless(&name, look, known) {
            Some(number) => {
                let target = Target::Number(number);
                watches.push(Watch { wd: watch.wd, target, mask: watch.mask & MASK });
            }
            None => named.push((watch, name)),
        }
    }
    let wanted: Vec<Name> = named.iter().map(|(_, name)| name.clone()).collect();
    for ((watch, _), path) in named.iter().zip(find_inode::paths(&wanted, known, effort)) {
        let path = path.ok_or_else(|| {
            Stop::cannot(
                format!("the file or folder that it watches (inode {}) can't be found", watch.inode),
                "Close the folder or file in the program, then try again.",
            )
        })?;
        // Only so can a symbolic link itself be watched, and the kernel does not show it.
        let is_link = known.stat_path(&path).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFLNK);
        let mask = watch.mask & MASK | if is_link { libc::IN_DONT_FOLLOW } else { 0 };
        watches.push(Watch { wd: watch.wd, target: Target::Path(path), mask });
    }
    if watches.iter().any(|w| w.wd > HIGHEST) {
        return Err(Stop::cannot("it has used up too many watches", "Restart the program first."));
    }
    watches.sort_by_key(|w| w.wd);
    Ok(watches)
}

/// The number under which the watcher's process has a file open that has no name any more.
fn nameless(name: &Name, look: &Look, known: &Known<'_>) -> Option<i32> {
    let is_it = |other: &&Rc<Look>| {
        let here = format!("/proc/self/fd/{}", other.file.as_raw_fd());
        other.stat.st_nlink == 0 && kernel_name::of(Path::new(&here), true).as_ref() == Some(name)
    };
    let open = known.id(known.looks.iter().find(is_it)?)?;
    let table = known.tables.get(look.holder.0).filter(|_| !look.in_flight)?;
    Some(table.iter().find(|entry| entry.file == open)?.number)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::tells_overflow;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use std::os::fd::AsFd;

    #[test]
    fn the_word_of_an_overflow_is_found_among_events() {
        let event = |mask: u32, name: &[u8]| {
            let words = [7, mask, 0, name.len() as u32].map(u32::to_ne_bytes).concat();
            [words, name.to_vec()].concat()
        };
        let plain = [event(libc::IN_OPEN, b"name\0\0\0\0"), event(libc::IN_ACCESS, b"")].concat();
        assert!(!tells_overflow(&plain) && !tells_overflow(&[]));
        assert!(tells_overflow(&[plain.clone(), event(libc::IN_Q_OVERFLOW, b"")].concat()));
        let cut = event(libc::IN_OPEN, b"longer than what follows");
        assert!(!tells_overflow(&cut[..20]));
    }

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
