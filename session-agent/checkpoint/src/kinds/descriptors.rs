//! The descriptor tables of the session: which process has which open file under which number.
//!
//! Open files are shared by duplicates and across fork, so they are found first (by kcmp among
//! those that look alike), captured once each by their kind, and then referred to by id. Nothing is
//! injected for a capture but where somebody waits to be accepted (`unix_waiting`), and the program finds all as it was.
//!
//! At restore every open file is made once, in the table that all stubs share, at a high number of
//! its own (`build`). Then each process gets a table of its own and the right numbers.
//!
//! Refused: processes that share a descriptor table without being threads of one process, and threads
//! with a table of their own.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::Batch;
use roam_sys::descriptor;
use roam_sys::procfs::stat;
use serde::{Deserialize, Serialize};

use super::build::{Build, EpollEntry};
use super::external;
use super::gather::{Capture, Known, gather};
use super::late::{self, Late};
use super::locks::{self, Held, Owner};
use super::message_queue;
use super::namespace_content::Inside;
use super::open_file::{FileId, Kind, Look, Stop};
use super::regular;
use super::socket_options;
use super::tcp_waiting;
use super::unix::is_unix;
use super::unix_queue;
use super::unix_waiting::{self, Hands};
use super::wants::Want;
use crate::error::{Error, TRY_AGAIN};
use crate::objects::{ObjectSlots, Objects};
use crate::pod::{Externals, Pod};
use crate::stubs::Stubs;

/// A process whose descriptors are captured.
pub struct Holder {
    /// As the keeper sees it.
    pub host: Pid,
    /// As the pod sees it.
    pub pid: i32,
    /// Its name, for refusals.
    pub name: String,
    /// For pidfd_getfd.
    pub pidfd: OwnedFd,
}

/// All descriptor tables and open files of the session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptors {
    /// The open files; their index is their [`FileId`].
    pub files: Vec<OpenFile>,
    /// One table for each process.
    pub tables: Vec<Table>,
    /// POSIX message queues, open or not.
    pub queues: Vec<message_queue::Queue>,
}

/// An open file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenFile {
    /// F_GETFL.
    pub flags: i32,
    /// Who gets its signals.
    pub owner: Option<SignalOwner>,
    /// The locks that belong to it.
    pub locks: Vec<Held>,
    /// What it is.
    pub kind: Kind,
}

/// Who gets the signals of asynchronous input (F_SETOWN_EX, F_SETSIG).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalOwner {
    /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP.
    pub kind: i32,
    /// The pod's id of it.
    pub id: i32,
    /// The signal; 0 is SIGIO.
    pub signal: i32,
}

/// The descriptors of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its pid in the pod.
    pub pid: i32,
    /// Its name, for messages.
    pub name: String,
    /// Its descriptors, by ascending number.
    pub entries: Vec<Entry>,
    /// The locks of the process, each by a descriptor that it was taken through.
    pub locks: Vec<(i32, Held)>,
}

/// One descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub number: i32,
    /// Close-on-exec.
    pub cloexec: bool,
    /// The open file.
    pub file: FileId,
}

impl Descriptors {
    /// A reason and a remedy with the process that has an open file, and its number there.
    #[must_use]
    pub fn refusal(&self, id: FileId, why: (String, String)) -> Refusal {
        let holder = self.tables.iter().find_map(|t| {
            let entry = t.entries.iter().find(|e| e.file == id)?;
            Some((t.name.as_str(), t.pid, entry.number))
        });
        let (name, pid, number) = holder.unwrap_or(("?", 0, -1));
        regular::refusal(name, pid, number, why)
    }
}

/// Says what of these processes' descriptors can't be carried, and what a target must have for the others. They run
/// meanwhile.
///
/// # Errors
/// If /proc can't be read.
pub fn check(
    holders: &[Holder],
    pod: &dyn Pod,
    inside: &Inside,
    externals: &dyn Externals,
) -> Result<(Vec<Refusal>, Vec<Want>), Error> {
    let mut refusals = shared_tables(holders)?;
    let known = gather(holders, pod, inside, externals, true)?;
    refusals.extend(message_queue::check_named(&known)?);
    for (look, external) in known.looks.iter().zip(&known.externals) {
        if external.is_some() {
            continue;
        }
        let lease = look.info.locks.iter().find_map(|l| Held::of(l).err());
        let first = lease.map_or_else(|| in_other_network(look, &known), Err);
        match first.and_then(|()| Kind::check(look, &known)) {
            Ok(()) => {}
            Err(Stop::Cannot { reason, remedy }) => refusals.push(refusal(&known, look, reason, remedy)),
            Err(Stop::Failed(e)) => return Err(e),
        }
    }
    Ok((refusals, known.take_wants()))
}

/// Captures everything that the processes hold open. They are frozen.
///
/// # Errors
/// [`Error::Refused`] for what can't be carried, or a failed call.
pub fn capture(
    holders: &[Holder],
    pod: &dyn Pod,
    inside: &Inside,
    externals: &dyn Externals,
    objects: &mut Objects,
    hands: &dyn Hands,
) -> Result<Descriptors, Error> {
    let mut refusals = shared_tables(holders)?;
    let mut known = gather(holders, pod, inside, externals, false)?;
    let taken = unix_waiting::look_all(&known, hands)?;
    if !taken.is_empty() {
        drop(known);
        known = gather(holders, pod, inside, externals, false)?;
        known.taken = taken;
    }
    let unix_queues = unix_queue::peek_all(&mut known, externals)?;
    let mut at = Capture::new(known, objects, unix_queues);
    let (queues, inodes) = message_queue::capture_all(&at.known)?;
    at.queue_inodes = inodes;
    let mut files = Vec::with_capacity(at.known.looks.len());
    for id in 0..at.known.looks.len() {
        let look = Rc::clone(&at.known.looks[id]);
        let kind = match &at.known.externals[id] {
            Some(name) => Ok(Kind::External(external::State(name.clone()))),
            None => in_other_network(&look, &at.known).and_then(|()| Kind::capture(&look, &mut at)),
        };
        match kind {
            Ok(kind) => {
                let owner = signal_owner(&look, &at.known)?;
                files.push(OpenFile { flags: look.info.flags, owner, locks: Vec::new(), kind });
            }
            Err(Stop::Cannot { reason, remedy }) => {
                refusals.push(refusal(&at.known, &look, reason, remedy));
            }
            Err(Stop::Failed(e)) => return Err(e),
        }
    }
    if refusals.is_empty() {
        let opening = |id: FileId| {
            refusal(&at.known, &at.known.look(id), "its connection is just opening".into(), TRY_AGAIN.into())
        };
        refusals.extend(tcp_waiting::strays(&files).into_iter().map(opening));
    }
    if !refusals.is_empty() {
        return Err(Error::Refused(refusals));
    }
    let mut tables = Vec::with_capacity(holders.len());
    for (entries, holder) in at.known.tables.iter().zip(holders) {
        let mut of_process: Vec<(i32, Held)> = Vec::new();
        for entry in entries {
            for mut held in entry.locks.iter().filter_map(|l| Held::of(l).ok()) {
                let OpenFile { owner, locks: of_file, .. } = &mut files[entry.file.0 as usize];
                if let Owner::Lease { signal } = &mut held.owner {
                    *signal = owner.map_or(0, |owner| owner.signal);
                }
                let same_file = |(number, known): &(i32, Held)| {
                    *known == held && entries.iter().any(|e| e.number == *number && e.file == entry.file)
                };
                match held.owner {
                    Owner::Process if !of_process.iter().any(same_file) => {
                        of_process.push((entry.number, held));
                    }
                    Owner::Flock | Owner::OpenFile | Owner::Lease { .. } if !of_file.contains(&held) => {
                        of_file.push(held)
                    }
                    _ => {}
                }
            }
        }
        let entry = |e: &super::gather::Entry| Entry { number: e.number, cloexec: e.cloexec, file: e.file };
        let entries = entries.iter().map(entry).collect();
        tables.push(Table { pid: holder.pid, name: holder.name.clone(), entries, locks: of_process });
    }
    Ok(Descriptors { files, tables, queues })
}

/// In a network that a program made, only unix sockets are carried.
fn in_other_network(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
    if look.file_type() != libc::S_IFSOCK || look.is_place() || is_unix(look) || known.net_of(look)? == 0 {
        return Ok(());
    }
    let remedy = "Close the socket in the program, then try again.";
    Err(Stop::cannot("it is a network socket in a network namespace that the program made", remedy))
}

/// Says which open files this machine does not have as the image needs them. Nothing is made.
///
/// # Errors
/// [`Error::Refused`] with their names.
pub fn verify(image: &Descriptors, pod: &dyn Pod, wakes: bool) -> Result<(), Error> {
    let (root, mut refusals) = (pod.root(), Vec::new());
    for (id, file) in image.files.iter().enumerate() {
        let why = match &file.kind {
            Kind::Regular(state) => {
                let expected = if wakes { state.expected.at_waking() } else { state.expected };
                regular::lacks(&root, &state.path, &expected)
            }
            Kind::Directory(state) => state.differs(&root),
            Kind::PidFd(state) => state.differs(),
            _ => None,
        };
        if let Some(why) = why {
            refusals.push(image.refusal(FileId(id as u32), why));
        }
    }
    if refusals.is_empty() { Ok(()) } else { Err(Error::Refused(refusals)) }
}

/// Makes all open files anew in the stubs' shared table, gives each process its own table with the
/// right numbers, and connects what belongs together. What it returns is for [`late::make`].
///
/// The processes, their sessions and groups are there; other threads than the main ones are cloned
/// afterwards, because they share the table that their process gets here.
///
/// # Errors
/// A failed call, or an image that contradicts itself.
pub fn restore(
    image: &Descriptors,
    stubs: &mut dyn Stubs,
    slots: &ObjectSlots,
    pod: &dyn Pod,
    externals: &mut dyn Externals,
) -> Result<Vec<Late>, Error> {
    validate(image)?;
    message_queue::restore(&image.queues, stubs)?;
    let mut at = Build::new(image, stubs, slots, pod, externals)?;
    let files = || image.files.iter().enumerate().map(|(i, file)| (FileId(i as u32), file));
    let elsewhere = |file: &OpenFile| matches!(&file.kind, Kind::Unix(socket) if socket.net != 0);
    for is_elsewhere in [false, true] {
        if is_elsewhere {
            at.enter_networks()?;
        }
        for (id, file) in files().filter(|(_, file)| elsewhere(file) == is_elsewhere) {
            if at.mark_made(id) {
                file.kind.make(id, &mut at)?;
            }
        }
    }
    for (id, file) in files() {
        file.kind.connect(id, &mut at)?;
    }
    for (id, file) in files() {
        file.kind.finish(id, &mut at)?;
        if !late::is_late(&file.kind) {
            set_flags(at.slot(id), file, at.batch(8)?);
        }
        // Of those that are only in flight: nobody has a descriptor to take them through later.
        if locks::place_of(image, id).is_none() {
            let slot = at.slot(id);
            for held in &file.locks {
                held.set(true, slot, at.batch(32)?);
            }
        }
    }
    for (id, file) in files() {
        if let Some(filter) = file.kind.filter() {
            socket_options::set_filter(filter, at.slot(id), &mut at)?;
        }
    }
    at.flush()?;
    let mut entries: Vec<Vec<EpollEntry>> = vec![Vec::new(); image.tables.len()];
    for entry in at.take_epoll_entries() {
        let holder = whose(&entry, &image.tables, &at);
        if let Some(of_holder) = entries.get_mut(holder) {
            of_holder.push(entry);
        }
    }
    // One that has told its event is made silent while its epoll has no others.
    for (table, entries) in image.tables.iter().zip(&entries) {
        add_disarmed(table, entries, &mut at)?;
    }
    for (table, entries) in image.tables.iter().zip(entries) {
        split(table, &entries, &mut at)?;
    }
    let late = at.take_late();
    at.clear()?;
    message_queue::finish(&image.queues, stubs)?;
    Ok(late)
}

/// Numbers and references of an image lie within it.
fn validate(image: &Descriptors) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::Image(format!("its descriptor tables are damaged: {what}")));
    if image.files.len() > MOST {
        return wrong("too many open files");
    }
    for file in &image.files {
        if let Kind::Epoll(epoll) = &file.kind
            && !epoll.entries.iter().all(|e| (0..MOST as i32).contains(&e.number))
        {
            return wrong("an epoll waits for an impossible number");
        }
    }
    for table in &image.tables {
        let mut last = -1;
        for entry in &table.entries {
            if entry.file.0 as usize >= image.files.len() {
                return wrong("an open file is missing");
            }
            if entry.number <= last || entry.number >= MOST as i32 {
                return wrong("a number is out of order");
            }
            last = entry.number;
        }
    }
    Ok(())
}

/// The kernel's own limit of descriptors for a process, as it is set nearly everywhere.
const MOST: usize = 1 << 20;

const SETTABLE: i32 = libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;

/// Flags and signals that can be set only now, because waiting calls would have hung before.
pub(super) fn set_flags(number: i32, file: &OpenFile, batch: &mut Batch) {
    if file.flags & libc::O_PATH != 0 {
        return;
    }
    if let Some(owner) = file.owner {
        owner.set(number, batch);
        let args = [number.into(), descriptor::F_SETSIG.into(), owner.signal.into()];
        batch.may("setting the signal", libc::SYS_fcntl, &args);
    }
    let args = [number.into(), libc::F_SETFL.into(), (file.flags & SETTABLE & !libc::O_ASYNC).into()];
    batch.must("setting file flags", libc::SYS_fcntl, &args);
}

/// Which table's process adds an entry to an epoll: one that holds both. It matters for a signalfd, which
/// tells an epoll of the signals of the process that added it.
fn whose(entry: &EpollEntry, tables: &[Table], at: &Build<'_>) -> usize {
    let holds = |table: &Table, slot: i32| table.entries.iter().any(|e| at.slot(e.file) == slot);
    let both = |table: &Table| holds(table, entry.epoll) && holds(table, entry.target);
    tables
        .iter()
        .position(both)
        .or_else(|| tables.iter().position(|table| holds(table, entry.epoll)))
        .unwrap_or(0)
}

/// Gives a process a table of its own in which only the slots are left.
fn empty(at: &Build<'_>, batch: &mut Batch) {
    const UNSHARE: u32 = 1 << 1;
    let slots = at.slots();
    let low = [0u32.into(), (slots.start - 1).into(), UNSHARE.into()];
    let high = [slots.end.into(), u32::MAX.into(), 0u32.into()];
    batch.must("making a descriptor table", libc::SYS_close_range, &low);
    batch.must("closing", libc::SYS_close_range, &high);
}

/// Adds those entries of epolls that have told their event.
fn add_disarmed(table: &Table, epoll: &[EpollEntry], at: &mut Build<'_>) -> Result<(), Error> {
    for (index, entry) in epoll.iter().filter(|entry| entry.is_disarmed()).enumerate() {
        if index == 0 {
            let mut batch = Batch::new();
            empty(at, &mut batch);
            at.run(Some(table.pid), &batch)?;
        }
        entry.add_disarmed(table.pid, at)?;
    }
    Ok(())
}

/// Gives a process its own table. The first of them, before it has its numbers, adds the entries of
/// epolls: they are known by number, and only here every number can be had.
fn split(table: &Table, epoll: &[EpollEntry], at: &mut Build<'_>) -> Result<(), Error> {
    let mut batch = Batch::new();
    let slots = at.slots();
    empty(at, &mut batch);
    let armed: Vec<_> = epoll.iter().filter(|entry| !entry.is_disarmed()).collect();
    for entries in armed.chunks(250) {
        for entry in entries {
            entry.add(&mut batch);
        }
        empty(at, &mut batch);
        at.run(Some(table.pid), &std::mem::take(&mut batch))?;
    }
    for entries in table.entries.chunks(500) {
        for entry in entries {
            let cloexec = if entry.cloexec { libc::O_CLOEXEC } else { 0 };
            let dup = [at.slot(entry.file).into(), entry.number.into(), cloexec.into()];
            batch.must("giving a descriptor its number", libc::SYS_dup3, &dup);
            // The signal tells the number under which it was asked for.
            let flags = at.file(entry.file)?.flags;
            if flags & libc::O_ASYNC != 0 && at.holder_of(entry.file) == Some(table.pid) {
                let set = [entry.number.into(), libc::F_SETFL.into(), (flags & SETTABLE).into()];
                batch.must("asking for signals", libc::SYS_fcntl, &set);
            }
        }
        at.run(Some(table.pid), &std::mem::take(&mut batch))?;
    }
    batch.must("closing", libc::SYS_close_range, &[slots.start.into(), (slots.end - 1).into(), 0u32.into()]);
    at.run(Some(table.pid), &batch).map(drop)
}

impl SignalOwner {
    fn set(&self, number: i32, batch: &mut Batch) {
        let data = batch.data(&[self.kind.to_ne_bytes(), self.id.to_ne_bytes()].concat());
        let args = [number.into(), descriptor::F_SETOWN_EX.into(), data.into()];
        batch.may("setting the owner of signals", libc::SYS_fcntl, &args);
    }
}

/// Adds the calls that can be made only when a process has its threads: some of them get signals. `number` says what
/// they are called where the process is.
pub fn give_to_threads(
    image: &Descriptors,
    pid: i32,
    number: &dyn Fn(i32) -> Option<i32>,
    batch: &mut Batch,
) {
    let Some(table) = image.tables.iter().find(|t| t.pid == pid) else { return };
    for entry in &table.entries {
        let file = image.files.get(entry.file.0 as usize);
        let owner = file.and_then(|f| f.owner).filter(|o| o.kind == F_OWNER_TID);
        if let Some((owner, id)) = owner.and_then(|owner| Some((owner, number(owner.id)?))) {
            SignalOwner { id, ..owner }.set(entry.number, batch);
        }
    }
}

const F_OWNER_TID: i32 = 0;
const F_OWNER_PGRP: i32 = 2;

fn signal_owner(look: &Look, known: &Known<'_>) -> Result<Option<SignalOwner>, Error> {
    use std::os::fd::AsFd;
    if look.info.flags & libc::O_PATH != 0 {
        return Ok(None);
    }
    let failed = |e| Error::system("asking who gets the signals of a file", e);
    let (kind, id) = descriptor::signal_owner(look.file.as_fd()).map_err(failed)?;
    let in_pod = match kind {
        F_OWNER_TID => known.pod_thread(id),
        F_OWNER_PGRP => known.pod_group(id),
        _ => known.pod_pid(id),
    };
    let Some(id) = in_pod.filter(|_| id != 0) else { return Ok(None) };
    let signal = descriptor::fcntl(look.file.as_fd(), descriptor::F_GETSIG, 0).map_err(failed)?;
    Ok(Some(SignalOwner { kind, id, signal }))
}

fn refusal(known: &Known<'_>, look: &Look, reason: String, remedy: String) -> Refusal {
    let (holder, number) = look.holder;
    let holder = &known.holders[holder];
    let link = String::from_utf8_lossy(look.link()).into_owned();
    Refusal {
        process: holder.name.clone(),
        pid: holder.pid.unsigned_abs(),
        what: match look.in_flight {
            false => format!("descriptor {number} ({link})"),
            true => format!("a descriptor in flight ({link}) inside descriptor {number}"),
        },
        reason,
        remedy,
    }
}

fn is_ending(pid: Pid) -> bool {
    stat::is_ending(pid.as_raw(), pid.as_raw())
}

/// Who shares a table that can't be shared again.
fn shared_tables(holders: &[Holder]) -> Result<Vec<Refusal>, Error> {
    let refuse = |holder: &Holder, reason: String| Refusal {
        process: holder.name.clone(),
        pid: holder.pid.unsigned_abs(),
        what: "its descriptor table".into(),
        reason,
        remedy: "This program can't be moved yet.".into(),
    };
    let mut refusals = Vec::new();
    let mut tables: Vec<&Holder> = Vec::with_capacity(holders.len());
    for holder in holders {
        let order = |other: &&Holder| {
            descriptor::compare_tables(other.host, holder.host).unwrap_or(std::cmp::Ordering::Less)
        };
        match tables.binary_search_by(order) {
            Err(place) => tables.insert(place, holder),
            // Of what ends the kernel has taken its table, so that all look the same.
            Ok(same) if is_ending(tables[same].host) || is_ending(holder.host) => {}
            Ok(same) => {
                refusals.push(refuse(holder, format!("it is shared with process {}", tables[same].pid)))
            }
        }
        let threads = roam_sys::procfs::threads(holder.host.as_raw()).unwrap_or_default();
        let apart = threads.into_iter().filter(|&t| t != holder.host.as_raw()).any(|t| {
            descriptor::compare_tables(holder.host, Pid::from_raw(t)).is_ok_and(std::cmp::Ordering::is_ne)
                && !stat::is_ending(holder.host.as_raw(), t)
        });
        if apart {
            refusals.push(refuse(holder, "a thread has a table of its own".into()));
        }
    }
    Ok(refusals)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn processes_share_what_they_shared() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let file = file.as_file().as_fd();
        let mut session = Session::of_processes(&[&[file, file], &[file]]);
        assert_eq!(session.image().files.len(), 1);
        session.round_trip();
        let mut batch = Batch::new();
        let room = batch.room(4);
        batch.must("read", libc::SYS_read, &[0u32.into(), room.into(), 4u32.into()]);
        session.run(1, &batch);
        assert_eq!(session.read(1, 3), b"456");
    }

    #[test]
    fn a_damaged_image_is_refused() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut session = Session::of(&[read.as_fd(), write.as_fd()]);
        let good = session.image().clone();
        let damages: [fn(&mut Descriptors); 4] = [
            |d| d.tables[0].entries[0].file = FileId(9),
            |d| d.tables[0].entries[1].number = 0,
            |d| d.tables[0].entries[1].number = i32::MAX,
            |d| d.files.swap(0, 1),
        ];
        for damage in damages {
            *session.image_mut() = good.clone();
            damage(session.image_mut());
            let error = session.restore().unwrap_err();
            assert!(matches!(error, Error::Image(_)), "{error}");
        }
    }

    /// Any image that decodes is restored or refused; nothing panics, whatever the numbers say.
    #[test]
    fn garbled_images_never_panic() {
        use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &a, b"queued").unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        epoll.add(&read, EpollEvent::new(EpollFlags::EPOLLIN, 1)).unwrap();
        let name = format!("roam-garbled-{}", std::process::id());
        let name =
            <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
        let listener = std::os::unix::net::UnixListener::bind_addr(&name.unwrap()).unwrap();
        let files = [a.as_fd(), b.as_fd(), read.as_fd(), write.as_fd(), epoll.0.as_fd(), listener.as_fd()];
        let mut session = Session::of(&files);
        let bytes = roam_api::codec::encode_section(session.image()).unwrap();
        session.end_source();
        drop(listener);
        let mut restored = 0;
        for at in 0..bytes.len() {
            for value in [1, 3, 128, 255] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let Ok(image) = roam_api::codec::decode_section(&bytes) else { continue };
                *session.image_mut() = image;
                restored += usize::from(session.restore().is_ok());
            }
        }
        assert!(restored > 0);
    }

    #[test]
    fn three_hundred_descriptors_are_captured_quickly() {
        let folder = tempfile::tempdir().unwrap();
        let mut files: Vec<OwnedFd> = Vec::new();
        for i in 0..60 {
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, vec![7; 10_000]).unwrap();
            files.push(std::fs::File::open(&path).unwrap().into());
            let (read, write) = nix::unistd::pipe().unwrap();
            descriptor::write(write.as_fd(), b"some").unwrap();
            files.extend([read, write]);
            files.push(nix::sys::eventfd::EventFd::new().unwrap().into());
            files.push(std::fs::File::open("/dev/null").unwrap().into());
        }
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let session = Session::of(&files);
        let times: Vec<_> = (0..20).map(|_| session.time_capture()).collect();
        println!(
            "{} descriptors: {:?} at best, {:?} to restore",
            files.len(),
            times.iter().min().unwrap(),
            {
                let mut session = session;
                let start = std::time::Instant::now();
                session.restore().unwrap();
                start.elapsed()
            }
        );
    }
}
