//! POSIX message queues (mq_overview(7)): what is queued, in order, with priorities; limits, permissions;
//! named or with their name gone, open or not.
//!
//! What is queued can't be peeked at. So it is taken out and put back at once, in the same order; at the
//! target the same is put in. Nobody waits meanwhile: all who did are stopped, and make their call again.
//!
//! Refused: a queue with a notification (mq_notify(3)), whose value the kernel shows to nobody, and a queue that
//! its own user may not read and write.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use roam_sys::descriptor;
use roam_sys::message_queue::{self, Attributes};
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;
use crate::stubs::Stubs;

/// Where the pod has them.
const FOLDER: &str = "/dev/mqueue/";
const MAGIC: i64 = 0x1980_0202;
/// Bytes sent in one batch.
const BYTES: usize = 256 << 10;
const LONGEST: usize = 255;

/// An open queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The queue: its index in `Descriptors::queues`.
    pub queue: u32,
    /// O_ACCMODE and O_NONBLOCK.
    pub flags: i32,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name, without a slash.
    pub name: Vec<u8>,
    /// Its name is gone; it goes with its last user.
    pub unlinked: bool,
    /// Permission bits.
    pub mode: u32,
    /// How many messages it takes, and of what size.
    pub limits: (i64, i64),
    /// What is queued, first to be received first: priority and text.
    pub messages: Vec<(u32, Vec<u8>)>,
}

const REMEDY: &str = "Let the program finish with it, then try again.";

fn is_queue(look: &Look) -> bool {
    look.file_type() == libc::S_IFREG
        && !look.is_place()
        && descriptor::file_system(look.file.as_fd()).is_ok_and(|magic| magic == MAGIC)
}

/// Who is notified, if anybody: the file's own text says so.
fn is_notifying(file: BorrowedFd<'_>) -> io::Result<bool> {
    let again = descriptor::reopen(file, libc::O_RDONLY)?;
    let mut text = [0; 160];
    let n = descriptor::read(again.as_fd(), &mut text)?;
    Ok(parse_owner(&String::from_utf8_lossy(&text[..n])) != 0)
}

/// `QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260`.
fn parse_owner(text: &str) -> i32 {
    let pid = text.split_once("NOTIFY_PID:").map(|(_, rest)| rest.trim());
    pid.and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

fn may_not(error: &io::Error) -> Stop {
    Stop::cannot(format!("the message queue can't be read and written ({error})"), REMEDY)
}

/// A name, and the queue opened by it.
type Named = (Vec<u8>, io::Result<File>);
/// Device and inode.
type Inode = (u64, u64);

/// What is in the pod's folder.
fn named(known: &Known<'_>) -> Result<Vec<Named>, Error> {
    let failed = |e| Error::system("listing message queues", e);
    let folder = known.pod.root().join(FOLDER.trim_matches('/'));
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let file = File::options().read(true).write(true).open(folder.join(&name));
        found.push((name.into_vec(), file));
    }
    Ok(found)
}

/// Which queues that have a name can't be carried; of those that are open [`OpenFileKind::check`] tells.
///
/// # Errors
/// If they can't be listed.
pub(super) fn check_named(known: &Known<'_>) -> Result<Vec<Refusal>, Error> {
    let refusal = |(name, file): Named| {
        Some(Refusal {
            process: "session".to_owned(),
            pid: 0,
            what: format!("message queue /{}", String::from_utf8_lossy(&name)),
            reason: format!("it can't be read and written ({})", file.err()?),
            remedy: "Remove it, or let its user read and write it.".to_owned(),
        })
    };
    Ok(named(known)?.into_iter().filter_map(refusal).collect())
}

/// Takes every queue of the pod: the open ones, and those that only have a name. Open files find theirs by
/// [`State`].
///
/// # Errors
/// A failed call.
pub(super) fn capture_all(known: &Known<'_>) -> Result<(Vec<Queue>, Vec<Inode>), Error> {
    let failed = |e| Error::system("reading a message queue", e);
    let mut queues = Vec::new();
    let mut inodes: Vec<Inode> = Vec::new();
    for (name, file) in named(known)? {
        let file = file.map_err(failed)?;
        let stat = descriptor::stat(file.as_fd()).map_err(failed)?;
        inodes.push((stat.st_dev, stat.st_ino));
        queues.push(queue(file.as_fd(), name, false, &stat).map_err(failed)?);
    }
    for look in &known.looks {
        if is_queue(look) && !inodes.contains(&look.inode()) {
            inodes.push(look.inode());
            let file = descriptor::reopen(look.file.as_fd(), libc::O_RDWR).map_err(failed)?;
            let name = look.link().rsplit(|b| *b == b'/').next().unwrap_or_default();
            let name = name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec();
            queues.push(queue(file.as_fd(), name, true, &look.stat).map_err(failed)?);
        }
    }
    Ok((queues, inodes))
}

fn queue(file: BorrowedFd<'_>, name: Vec<u8>, unlinked: bool, stat: &libc::stat) -> io::Result<Queue> {
    message_queue::set_nonblocking(file)?;
    let Attributes { most, size, .. } = message_queue::attributes(file)?;
    let mut messages = Vec::new();
    let mut room = vec![0; usize::try_from(size).unwrap_or(0).max(1)];
    let taken = loop {
        match message_queue::receive(file, &mut room) {
            Ok((len, priority)) => messages.push((priority, room[..len].to_vec())),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    for (priority, text) in &messages {
        message_queue::send(file, text, *priority)?;
    }
    taken?;
    Ok(Queue { name, unlinked, mode: stat.st_mode & 0o777, limits: (most, size), messages })
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        is_queue(look)
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        descriptor::reopen(look.file.as_fd(), libc::O_RDWR).map_err(|e| may_not(&e))?;
        if is_notifying(look.file.as_fd()).map_err(|e| may_not(&e))? {
            return Err(Stop::cannot(
                "a process asked to be notified of messages (mq_notify), and of what it asked for the kernel shows only a part",
                "Let the program take its notification back, then try again.",
            ));
        }
        Ok(())
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Self::check(look, &at.known)?;
        let queue = at.queue_inodes.iter().position(|inode| *inode == look.inode());
        let queue = queue.ok_or_else(|| Error::Image("a message queue is missing".into()))? as u32;
        Ok(Self { queue, flags: look.info.flags & (libc::O_ACCMODE | libc::O_NONBLOCK) })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let queues = &at.image.queues;
        let queue = queues
            .get(self.queue as usize)
            .ok_or_else(|| Error::Image("a message queue is missing".into()))?;
        let path = [FOLDER.as_bytes(), &names(queues)?[self.queue as usize]].concat();
        debug_assert!(queue.name.len() <= LONGEST);
        let slot = at.slot(id);
        at.open(&path, self.flags & libc::O_ACCMODE, 0, slot)
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Under which name each queue is made: its own, or while it is opened another for one whose name is gone and
/// may have been taken since.
fn names(queues: &[Queue]) -> Result<Vec<Vec<u8>>, Error> {
    let mut taken: HashSet<Vec<u8>> = queues.iter().filter(|q| !q.unlinked).map(|q| q.name.clone()).collect();
    queues
        .iter()
        .map(|queue| {
            let whole = !queue.name.is_empty() && queue.name.len() <= LONGEST;
            if !whole || queue.name.iter().any(|b| matches!(b, b'/' | 0)) || queue.name.starts_with(b".") {
                return Err(Error::Image("a message queue has an impossible name".into()));
            }
            if !queue.unlinked || taken.insert(queue.name.clone()) {
                return Ok(queue.name.clone());
            }
            let other = (0u32..).map(|i| format!("roam-{i}").into_bytes()).find(|name| !taken.contains(name));
            let other = other.expect("one of so many is free");
            taken.insert(other.clone());
            Ok(other)
        })
        .collect()
}

/// Makes all queues, under names by which open files find them, and fills them.
///
/// # Errors
/// A call that had to succeed and did not.
pub fn restore(queues: &[Queue], stubs: &mut dyn Stubs) -> Result<(), Error> {
    for (queue, name) in queues.iter().zip(names(queues)?) {
        let mut batch = Batch::new();
        let fd = open(&name, queue, &mut batch)?;
        let fd = stubs.run(stubs.holder(), &batch)?.ret(fd) as i32;
        let mut batch = Batch::new();
        for (priority, text) in &queue.messages {
            let data = batch.data(text);
            let send = [fd.into(), data.into(), text.len().into(), (*priority).into(), 0.into()];
            batch.must("queueing a message", libc::SYS_mq_timedsend, &send);
            if batch.encoded_len() > BYTES {
                stubs.run(stubs.holder(), &std::mem::take(&mut batch))?;
            }
        }
        batch.must(
            "setting a message queue's permissions",
            libc::SYS_fchmod,
            &[fd.into(), queue.mode.into()],
        );
        batch.must("closing a message queue", libc::SYS_close, &[fd.into()]);
        stubs.run(stubs.holder(), &batch)?;
    }
    Ok(())
}

fn open(name: &[u8], queue: &Queue, batch: &mut Batch) -> Result<RetOf, Error> {
    let name =
        CString::new(name).map_err(|_| Error::Image("a message queue has an impossible name".into()))?;
    let name = batch.c_string(name.as_bytes());
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NONBLOCK | libc::O_CLOEXEC;
    // struct mq_attr: flags, limits, messages now; four words of reserve.
    let attributes = [0, queue.limits.0, queue.limits.1, 0, 0, 0, 0, 0];
    let attributes = batch.data(&attributes.map(i64::to_le_bytes).concat());
    let make = [name.into(), flags.into(), 0o600.into(), attributes.into()];
    Ok(batch.must("making a message queue", libc::SYS_mq_open, &make))
}

/// Takes the names away that were given for the restore only.
///
/// # Errors
/// A call that had to succeed and did not.
pub fn finish(queues: &[Queue], stubs: &mut dyn Stubs) -> Result<(), Error> {
    let mut batch = Batch::new();
    for (queue, name) in queues.iter().zip(names(queues)?) {
        if queue.unlinked {
            let name = batch.c_string(&name);
            batch.must("unlinking a message queue", libc::SYS_mq_unlink, &[name.into()]);
        }
    }
    if batch.is_empty() { Ok(()) } else { stubs.run(stubs.holder(), &batch).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notified_process_is_read() {
        assert_eq!(parse_owner("QSIZE:129        NOTIFY:2    SIGNO:0     NOTIFY_PID:8260  \n"), 8260);
        assert_eq!(parse_owner("QSIZE:0          NOTIFY:0    SIGNO:0     NOTIFY_PID:0     \n"), 0);
    }

    #[test]
    fn a_name_that_was_taken_again_is_lent_another() {
        let queue = |name: &[u8], unlinked| Queue {
            name: name.to_vec(),
            unlinked,
            mode: 0o600,
            limits: (10, 8192),
            messages: Vec::new(),
        };
        let queues = [queue(b"a", true), queue(b"a", false), queue(b"b", true), queue(b"b", true)];
        let names = names(&queues).unwrap();
        assert_eq!(names, [b"roam-0".to_vec(), b"a".to_vec(), b"b".to_vec(), b"roam-1".to_vec()]);
        assert!(super::names(&[queue(b"a/b", false)]).is_err() && super::names(&[queue(b"", true)]).is_err());
    }
}
