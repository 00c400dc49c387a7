//! Sets of files to wait for: epoll(7).
//!
//! An entry's key is an open file and the number under which it was added, even if that number is
//! closed or means another file by now. Which open file it is, kcmp tells. At restore the entries are
//! added in a process that can give each file each number for a moment.
//!
//! Refused: an entry whose open file nobody holds any more (but a mapping or the like).

use std::collections::HashMap;
use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::{Build, EpollEntry};
use super::gather::{Capture, Known};
use super::late;
use super::open_file::{FileId, Kind, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A set of files to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What it waits for.
    pub entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The number under which it was added.
    pub number: i32,
    /// The open file.
    pub file: FileId,
    /// What is waited for.
    pub events: u32,
    /// The user's data.
    pub data: u64,
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("tfd:") || look.is_anonymous("[eventpoll]")
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        entries(look, known).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Ok(Self { entries: entries(look, &at.known)? })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        let fd = at.batch(0)?.must("epoll_create1", libc::SYS_epoll_create1, &[0u32.into()]);
        at.place(fd, slot);
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        for entry in &self.entries {
            let file = at.file(entry.file)?;
            if entry.number < 0 || entry.file == id {
                return Err(Error::Image("an epoll is damaged".into()));
            }
            at.add_epoll_entry(EpollEntry {
                epoll: at.slot(id),
                target: at.slot(entry.file),
                number: entry.number,
                events: entry.events,
                data: entry.data,
                reads_pipe: matches!(file.kind, Kind::Pipe(_))
                    && file.flags & libc::O_ACCMODE == libc::O_RDONLY,
            });
        }
        Ok(())
    }
}

/// What it waits for.
///
/// # Errors
/// A refusal.
pub(super) fn entries(look: &Look, known: &Known<'_>) -> Result<Vec<Entry>, Stop> {
    let found = look.info.epoll();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen: HashMap<i32, u32> = HashMap::new();
    let mut entries = Vec::with_capacity(found.len());
    for entry in found {
        let index = seen.entry(entry.number).or_default();
        let is_it = |id: &FileId| {
            let file = known.look(*id);
            descriptor::is_epoll_target(look.file.as_fd(), entry.number, *index, file.file.as_fd())
        };
        // Nearly always it is what the process has under that number.
        let likely = known.tables[look.holder.0].iter().find(|e| e.number == entry.number);
        let likely = likely.map(|e| e.file).into_iter();
        let others = known.of_inode((entry.device, entry.inode)).iter().copied();
        let file = likely.chain(others).find_map(|id| match is_it(&id) {
            Ok(true) => Some(Ok(id)),
            Ok(false) => None,
            Err(e) => Some(Err(e)),
        });
        *index += 1;
        let file = match file {
            Some(Ok(file)) => file,
            // Programs change their sets all the time: it vanished during a check.
            Some(Err(e)) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            Some(Err(e)) => return Err(Error::system("looking for the files of an epoll", e).into()),
            None => {
                return Err(Stop::cannot(
                    format!("it waits for a file that was closed (once number {})", entry.number),
                    "Try again in a moment; if it stays so, this program can't be moved yet.",
                ));
            }
        };
        late::check_awaited(&known.look(file), known)?;
        entries.push(Entry { number: entry.number, file, events: entry.events, data: entry.data });
    }
    // The kernel's order is that of addresses, which means nothing.
    entries.sort_unstable_by_key(|e| (e.number, e.file));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
    use nix::sys::eventfd::EventFd;
    use roam_sys::batch::Batch;

    fn wait(session: &mut Session, number: i32) -> Vec<u64> {
        let mut batch = Batch::new();
        let room = batch.room(12 * 8);
        let args = [number.into(), room.into(), 8u32.into(), 0u32.into()];
        let n = batch.must("epoll_wait", libc::SYS_epoll_wait, &args);
        let done = session.run(0, &batch);
        let events = done.bytes(room).chunks(12).take(done.ret(n) as usize);
        events.map(|e| u64::from_ne_bytes(e[4..12].try_into().unwrap())).collect()
    }

    #[test]
    fn entries_nested_and_stale_ones_come_back() {
        let quiet = EventFd::new().unwrap();
        let ready = EventFd::from_value(3).unwrap();
        let inner = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let outer = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let event = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
        inner.add(&quiet, event(1)).unwrap();
        inner.add(&ready, event(2)).unwrap();
        // Another number of the same file, closed since: the entry stays.
        let stale = ready.as_fd().try_clone_to_owned().unwrap();
        inner.add(&stale, event(4)).unwrap();
        drop(stale);
        outer.add(&inner.0, event(3)).unwrap();
        let mut session = Session::of(&[outer.0.as_fd(), inner.0.as_fd(), ready.as_fd(), quiet.as_fd()]);
        session.round_trip();
        assert_eq!(wait(&mut session, 0), [3]);
        let mut data = wait(&mut session, 1);
        data.sort_unstable();
        assert_eq!(data, [2, 4]);
    }
}
