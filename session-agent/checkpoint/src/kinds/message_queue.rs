//! POSIX message queues (mq_overview(7)): what is queued, in order, with priorities; limits, permissions;
//! named or with their name gone, open or not.
//!
//! What is queued can't be peeked at. So it is taken out and put back at once, in the same order; at the
//! target the same is put in. Nobody waits meanwhile: all who did are stopped, and make their call again. A keeper that
//! is killed in between takes the messages along.
//!
//! Who asked to be notified (mq_notify(3)) asks again at the target ([`super::notifications`]).
//!
//! Refused: a notification that was not recorded, one for a queue that is not empty, and a queue that its own user may
//! not read and write.

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
use super::descriptors::Descriptors;
use super::descriptors::Holder;
use super::gather::{Capture, Known};
use super::notifications::{Notification, Shown};
use super::open_file::{FileId, Kind, Look, OpenFileKind, Stop};
use crate::error::{Error, TRY_AGAIN};
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
    /// Who is notified of the next message.
    pub notify: Option<Notify>,
}

const REMEDY: &str = "Let the program finish with it, then try again.";

fn is_queue(look: &Look) -> bool {
    look.file_type() == libc::S_IFREG
        && !look.is_place()
        && descriptor::file_system(look.file.as_fd()).is_ok_and(|magic| magic == MAGIC)
}

/// Who asked to be notified, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// The process, as the pod counts.
    pub owner: i32,
    /// What it asked for.
    pub what: Notification,
}

/// The notification that is asked of a queue.
fn notify(file: BorrowedFd<'_>, (device, inode): Inode, known: &Known<'_>) -> Result<Option<Notify>, Stop> {
    let Some(shown) = Shown::of(file).map_err(|e| may_not(&e))? else { return Ok(None) };
    let noted = known.pod.filters().and_then(|book| book.noted((device, inode, shown.owner)));
    let Some((what, owner)) = noted.filter(|what| what.is(shown)).zip(known.pod_pid(shown.owner)) else {
        return Err(Stop::cannot(
            "a process asked to be notified of messages (mq_notify), and of what it asked for the kernel shows only a part",
            "Let the program take its notification back, then try again.",
        ));
    };
    // Taking them out and putting them back would notify.
    if message_queue::attributes(file).map_err(|e| may_not(&e))?.now > 0 {
        return Err(Stop::cannot(
            "a process asked to be notified of messages (mq_notify) while some wait to be read",
            TRY_AGAIN,
        ));
    }
    Ok(Some(Notify { owner, what }))
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
        let path = [FOLDER.as_bytes(), &name].concat();
        let inode = known.stat_path(&path).map(|stat| (stat.st_dev, stat.st_ino));
        let reason = format!("it can't be read and written ({})", file.err()?);
        let remedy = "Remove it, or let its user read and write it.".to_owned();
        Some(refused(inode.ok().and_then(|inode| holder_of(inode, known)), &name, reason, remedy))
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
        let notify = notified(file.as_fd(), &name, (stat.st_dev, stat.st_ino), known)?;
        queues.push(Queue { notify, ..queue(file.as_fd(), name, false, &stat).map_err(failed)? });
    }
    for look in &known.looks {
        if is_queue(look) && !inodes.contains(&look.inode()) {
            inodes.push(look.inode());
            let file = descriptor::reopen(look.file.as_fd(), libc::O_RDWR).map_err(failed)?;
            let name = look.link().rsplit(|b| *b == b'/').next().unwrap_or_default();
            let name = name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec();
            let notify = notified(file.as_fd(), &name, look.inode(), known)?;
            queues.push(Queue { notify, ..queue(file.as_fd(), name, true, &look.stat).map_err(failed)? });
        }
    }
    Ok((queues, inodes))
}

/// The same for a capture, before anything is taken out.
fn notified(
    file: BorrowedFd<'_>,
    name: &[u8],
    inode: Inode,
    known: &Known<'_>,
) -> Result<Option<Notify>, Error> {
    notify(file, inode, known).map_err(|stop| match stop {
        Stop::Cannot { reason, remedy } => {
            // Who asked; one that asked and closed it has it open no more.
            let asked = Shown::of(file).ok().flatten().map(|shown| shown.owner);
            let asked = known.holders.iter().find(|h| Some(h.host.as_raw()) == asked);
            Error::Refused(vec![refused(asked.or_else(|| holder_of(inode, known)), name, reason, remedy)])
        }
        Stop::Failed(error) => error,
    })
}

/// The first process that has the queue open; none for one that only has its name.
fn holder_of<'a>(inode: Inode, known: &'a Known<'_>) -> Option<&'a Holder> {
    let id = known.of_inode(inode).first()?;
    known.holders.get(known.look(*id).holder.0)
}

fn refused(whose: Option<&Holder>, name: &[u8], reason: String, remedy: String) -> Refusal {
    Refusal {
        process: whose.map_or_else(|| "session".to_owned(), |holder| holder.name.clone()),
        pid: whose.map_or(0, |holder| holder.pid.unsigned_abs()),
        what: format!("message queue /{}", String::from_utf8_lossy(name)),
        reason,
        remedy,
    }
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
    // All that can be put back is, whatever happens to one.
    let put = |(priority, text): &(u32, Vec<u8>)| message_queue::send(file, text, *priority);
    let back: Vec<io::Result<()>> = messages.iter().map(put).collect();
    back.into_iter().fold(taken, io::Result::and)?;
    let mode = stat.st_mode & 0o777;
    Ok(Queue { name, unlinked, mode, limits: (most, size), messages, notify: None })
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        is_queue(look)
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        descriptor::reopen(look.file.as_fd(), libc::O_RDWR).map_err(|e| may_not(&e))?;
        notify(look.file.as_fd(), look.inode(), known)?;
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

/// The notifications that a process had asked for: by its descriptor of the queue, and what.
///
/// # Errors
/// If it has no such descriptor.
pub fn of_process(image: &Descriptors, pid: i32) -> Result<Vec<(i32, &Notification)>, Error> {
    let entries = image.tables.iter().filter(|table| table.pid == pid).flat_map(|table| &table.entries);
    let queue_of = |file: FileId| match image.files.get(file.0 as usize).map(|file| &file.kind) {
        Some(Kind::MessageQueue(state)) => Some(state.queue as usize),
        _ => None,
    };
    let number = |queue: usize| entries.clone().find(|e| queue_of(e.file) == Some(queue)).map(|e| e.number);
    let own = image.queues.iter().enumerate().filter_map(|(i, queue)| Some((i, queue.notify.as_ref()?)));
    own.filter(|(_, notify)| notify.owner == pid)
        .map(|(queue, notify)| match number(queue) {
            Some(number) if notify.what.is_whole() => Ok((number, &notify.what)),
            _ => Err(Error::Image("a message queue notifies a process that does not have it".into())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_taken_again_is_lent_another() {
        let queue = |name: &[u8], unlinked| Queue {
            name: name.to_vec(),
            unlinked,
            mode: 0o600,
            limits: (10, 8192),
            messages: Vec::new(),
            notify: None,
        };
        let queues = [queue(b"a", true), queue(b"a", false), queue(b"b", true), queue(b"b", true)];
        let names = names(&queues).unwrap();
        assert_eq!(names, [b"roam-0".to_vec(), b"a".to_vec(), b"b".to_vec(), b"roam-1".to_vec()]);
        assert!(super::names(&[queue(b"a/b", false)]).is_err() && super::names(&[queue(b"", true)]).is_err());
    }
}
