//! Making open files anew in the table that all stubs share.
//!
//! Every open file gets a **slot**: a number above all that the image uses, known before anything is
//! made, so that kinds can refer to one another without waiting for results. Calls are collected and
//! run together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use roam_api::error::Refusal;
use roam_sys::batch::{Arg, Batch, Done, RetOf};

use super::descriptors::{Descriptors, OpenFile};
use super::late::Late;
use super::namespaces::Id;
use super::open_file::{FileId, Kind};
use super::terminal::Masters;
use crate::error::Error;
use crate::objects::{ObjectId, ObjectSlots};
use crate::pod::{ExternalName, Externals, Pod};
use crate::stubs::Stubs;

/// New descriptors get the lowest free numbers and are placed at once: with so much room below the slots none of
/// them is a slot by accident.
const BELOW: i32 = 1024;
/// A batch is run when it holds this many calls…
const CALLS: usize = 600;
/// …or this much data.
const BYTES: usize = 64 << 10;
/// Of long data, this much goes into one call.
pub const PIECE: usize = 32 << 10;

/// A restore of descriptors in progress.
pub struct Build<'a> {
    /// What is restored.
    pub image: &'a Descriptors,
    /// Where.
    pub pod: &'a dyn Pod,
    stubs: &'a mut dyn Stubs,
    objects: &'a ObjectSlots,
    externals: &'a mut dyn Externals,
    pids: HashSet<i32>,
    base: i32,
    extra: i32,
    end: i32,
    limit: u64,
    batch: Batch,
    bytes: usize,
    made: Vec<bool>,
    anchors: HashMap<FileId, [i32; 2]>,
    taken: HashMap<FileId, [bool; 2]>,
    epoll: Vec<EpollEntry>,
    late: Vec<Late>,
    scratch: i32,
    /// The masters of terminals.
    pub masters: Masters,
}

/// An entry that an epoll will get: by the slots of both.
#[derive(Debug, Clone, Copy)]
pub struct EpollEntry {
    /// The epoll's slot.
    pub epoll: i32,
    /// The target's slot.
    pub target: i32,
    /// The number that is part of the entry's key.
    pub number: i32,
    /// What is waited for.
    pub events: u32,
    /// The user's data.
    pub data: u64,
    /// The target is an end of a pipe that only reads.
    pub reads_pipe: bool,
}

/// How to make a socket in a network that a program had made.
pub struct WayInto(Option<i32>);

impl WayInto {
    /// Adds a call that is to be made there, with the way there and back.
    pub fn there(&self, batch: &mut Batch, call: impl FnOnce(&mut Batch) -> RetOf) -> RetOf {
        const DOING: &str = "going to another network";
        let Some(sentry) = self.0 else { return call(batch) };
        let open = |batch: &mut Batch, path: String| {
            let path = batch.c_string(path.as_bytes());
            let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
            batch.must(DOING, libc::SYS_openat, &open)
        };
        let enter = |batch: &mut Batch, net: RetOf| {
            batch.must(DOING, libc::SYS_setns, &[net.into(), libc::CLONE_NEWNET.into()]);
            batch.must(DOING, libc::SYS_close, &[net.into()]);
        };
        let home = open(batch, "/proc/self/ns/net".to_owned());
        let net = open(batch, format!("/proc/{sentry}/ns/net"));
        enter(batch, net);
        let ret = call(batch);
        enter(batch, home);
        ret
    }
}

impl<'a> Build<'a> {
    /// A process of the pod that is in a namespace that a program made, but no pid namespace.
    ///
    /// # Errors
    /// If the image has no such namespace.
    pub fn somebody_in(&self, namespace: Id) -> Result<i32, Error> {
        self.stubs.sentry(namespace)
    }

    /// The way into a network; 0 is the pod's own.
    ///
    /// # Errors
    /// If the image has no such network.
    pub fn way_into(&self, net: Id) -> Result<WayInto, Error> {
        if net == 0 { Ok(WayInto(None)) } else { self.somebody_in(net).map(|pid| WayInto(Some(pid))) }
    }

    /// The same for a process that makes the socket. None if it can't go there.
    ///
    /// # Errors
    /// As [`Build::way_into`].
    pub fn way_of(&self, maker: i32, net: Id) -> Result<Option<WayInto>, Error> {
        match self.stubs.network_of(maker) {
            None => self.way_into(net).map(Some),
            Some(own) => Ok((own == net).then_some(WayInto(None))),
        }
    }

    /// Has the processes that can't come back from their networks go there.
    ///
    /// # Errors
    /// If one can't.
    pub fn enter_networks(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.stubs.enter_networks()
    }

    /// What something of the session is called where a process is.
    #[must_use]
    pub fn number(&self, viewer: i32, pod: i32) -> Option<i32> {
        self.stubs.number(viewer, pod)
    }

    /// Finds room in the shared table.
    ///
    /// # Errors
    /// Refused if a process may not have so many descriptors here.
    pub fn new(
        image: &'a Descriptors,
        stubs: &'a mut dyn Stubs,
        objects: &'a ObjectSlots,
        pod: &'a dyn Pod,
        externals: &'a mut dyn Externals,
    ) -> Result<Self, Error> {
        let files = image.files.len() as i32;
        let used: BTreeSet<i32> = image
            .tables
            .iter()
            .flat_map(|t| t.entries.iter().map(|e| e.number))
            .chain(image.files.iter().flat_map(|f| match &f.kind {
                Kind::Epoll(epoll) => epoll.entries.iter().map(|e| e.number).collect(),
                _ => Vec::new(),
            }))
            .collect();
        let base = (objects.0.values().copied().max().unwrap_or(0) + 1).max(64);
        let room = files * 3 + 64;
        let below = room.min(BELOW);
        let base = free_room(stubs, base, below + room, &used)? + below;
        let limit = limit(stubs)?;
        within(limit, base + files - 1, image)?;
        Ok(Self {
            limit,
            pids: image.tables.iter().map(|t| t.pid).collect(),
            made: vec![false; image.files.len()],
            image,
            pod,
            stubs,
            objects,
            externals,
            base,
            extra: base + files,
            end: base + room,
            batch: Batch::new(),
            bytes: 0,
            anchors: HashMap::new(),
            taken: HashMap::new(),
            epoll: Vec::new(),
            late: Vec::new(),
            scratch: 0,
            masters: Masters::default(),
        })
    }

    /// Closes the slots in the shared table: what no process holds ends here.
    ///
    /// # Errors
    /// If a call fails.
    pub fn clear(mut self) -> Result<(), Error> {
        let range = [self.base.into(), (self.end - 1).into(), 0u32.into()];
        self.batch(0)?.must("closing", libc::SYS_close_range, &range);
        self.flush()
    }

    /// The number of an open file in the shared table.
    #[must_use]
    pub fn slot(&self, id: FileId) -> i32 {
        self.base + id.0 as i32
    }

    /// The numbers that are used for slots. The image's lie below and above.
    #[must_use]
    pub fn slots(&self) -> std::ops::Range<i32> {
        self.base..self.end
    }

    /// A number for something that is needed during the restore only.
    ///
    /// # Errors
    /// If there are none left; refused if it is more than a process may have here.
    pub fn extra_slot(&mut self) -> Result<i32, Error> {
        if self.extra == self.end {
            return Err(Error::Image("it needs too many helper descriptors".into()));
        }
        within(self.limit, self.extra, self.image)?;
        self.extra += 1;
        Ok(self.extra - 1)
    }

    /// The open file with this id.
    ///
    /// # Errors
    /// If the image has none.
    pub fn file(&self, id: FileId) -> Result<&'a OpenFile, Error> {
        self.image
            .files
            .get(id.0 as usize)
            .ok_or_else(|| Error::Image(format!("open file {} does not exist", id.0)))
    }

    /// Marks a file as made; false if it was before.
    pub fn mark_made(&mut self, id: FileId) -> bool {
        !std::mem::replace(&mut self.made[id.0 as usize], true)
    }

    /// Whether a file has been made.
    #[must_use]
    pub fn is_made(&self, id: FileId) -> bool {
        self.made.get(id.0 as usize).copied().unwrap_or(false)
    }

    /// The batch of the holder, with room for a few calls and this much data.
    ///
    /// # Errors
    /// If the calls before, which are run when there is no room, failed.
    pub fn batch(&mut self, data: usize) -> Result<&mut Batch, Error> {
        if self.batch.len() >= CALLS || self.bytes + data > BYTES {
            self.flush()?;
        }
        self.bytes += data;
        Ok(&mut self.batch)
    }

    /// A number for something that is used at once and then replaced by the next.
    ///
    /// # Errors
    /// If there are none left.
    pub fn scratch_slot(&mut self) -> Result<i32, Error> {
        if self.scratch == 0 {
            self.scratch = self.extra_slot()?;
        }
        Ok(self.scratch)
    }

    /// The first process that holds an open file.
    #[must_use]
    pub fn holder_of(&self, id: FileId) -> Option<i32> {
        let holds = |t: &&super::descriptors::Table| t.entries.iter().any(|e| e.file == id);
        self.image.tables.iter().find(holds).map(|t| t.pid)
    }

    /// Moves a new descriptor to its slot.
    pub fn place(&mut self, new: impl Into<Arg>, slot: i32) {
        place(&mut self.batch, new, slot);
    }

    /// Runs what was collected.
    ///
    /// # Errors
    /// A call that had to succeed and did not.
    pub fn flush(&mut self) -> Result<(), Error> {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.bytes = 0;
            self.stubs.run(self.stubs.holder(), &batch)?;
        }
        Ok(())
    }

    /// Runs a batch in the process with this pid, or in the holder if there is none; what was
    /// collected goes first.
    ///
    /// # Errors
    /// A call that had to succeed and did not.
    pub fn run(&mut self, pid: Option<i32>, batch: &Batch) -> Result<Done, Error> {
        self.flush()?;
        let pid = pid.filter(|p| self.pids.contains(p)).unwrap_or_else(|| self.stubs.holder());
        self.stubs.run(pid, batch)
    }

    /// Whether a process with this pid is restored.
    #[must_use]
    pub fn has_process(&self, pid: i32) -> bool {
        self.pids.contains(&pid)
    }

    /// Brings a descriptor of this process into the slot.
    ///
    /// # Errors
    /// If a call fails.
    pub fn import(&mut self, fd: BorrowedFd<'_>, slot: i32) -> Result<(), Error> {
        let number = self.stubs.import(fd)?;
        self.batch(0)?;
        self.place(number, slot);
        Ok(())
    }

    /// The pod's side of something that the keeper holds the other side of.
    ///
    /// # Errors
    /// If the keeper does not have it.
    pub fn external(&mut self, name: &ExternalName, slot: i32) -> Result<(), Error> {
        let file: OwnedFd =
            self.externals.provide(name).map_err(|e| Error::system(format!("making {} anew", name.0), e))?;
        self.import(file.as_fd(), slot)
    }

    /// The slot of a shared object.
    ///
    /// # Errors
    /// If the image has no such object.
    pub fn object(&self, id: ObjectId) -> Result<i32, Error> {
        self.objects
            .0
            .get(&id)
            .copied()
            .ok_or_else(|| Error::Image(format!("shared object {} does not exist", id.0)))
    }

    /// Remembers an entry of an epoll, to be added when numbers are free.
    pub fn add_epoll_entry(&mut self, entry: EpollEntry) {
        self.epoll.push(entry);
    }

    /// What was remembered.
    pub fn take_epoll_entries(&mut self) -> Vec<EpollEntry> {
        std::mem::take(&mut self.epoll)
    }

    /// Remembers a file that is made once the threads are there.
    ///
    /// # Errors
    /// If there are too many.
    pub fn remember_late(&mut self, late: Late) -> Result<(), Error> {
        // Each has a number below the slots, among those that new descriptors get.
        if self.late.len() as i32 >= BELOW / 2 {
            return Err(Error::Image("it has too many files that are about threads".into()));
        }
        self.late.push(late);
        Ok(())
    }

    /// What was remembered.
    pub fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Remembers two helper slots for the file that others refer to.
    pub fn set_anchor(&mut self, of: FileId, slots: [i32; 2]) {
        self.anchors.insert(of, slots);
    }

    /// The helper slots of another file.
    ///
    /// # Errors
    /// If that file has none: the image refers to the wrong one.
    pub fn anchor(&self, of: FileId) -> Result<[i32; 2], Error> {
        self.anchors
            .get(&of)
            .copied()
            .ok_or_else(|| Error::Image(format!("open file {} is not what another takes it for", of.0)))
    }

    /// True once for each end of an anchor: for whoever takes it as it is.
    pub fn take_anchor(&mut self, of: FileId, index: usize) -> bool {
        !std::mem::replace(&mut self.taken.entry(of).or_default()[index], true)
    }

    /// Opens a path (or `/proc/self/fd/N`) of the pod into the slot, at this position.
    ///
    /// # Errors
    /// If earlier calls failed.
    pub fn open(&mut self, path: &[u8], flags: i32, position: i64, slot: i32) -> Result<(), Error> {
        let batch = self.batch(path.len() + 1)?;
        let path = batch.c_string(path);
        let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
        let open = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0u32.into()];
        let fd = batch.must("opening a file", libc::SYS_openat, &open);
        self.place(fd, slot);
        if position != 0 && flags & libc::O_PATH == 0 {
            let seek = [slot.into(), position.into(), libc::SEEK_SET.into()];
            self.batch(0)?.must("setting a file position", libc::SYS_lseek, &seek);
        }
        Ok(())
    }
}

/// Moves a new descriptor to its slot.
pub fn place(batch: &mut Batch, new: impl Into<Arg>, slot: i32) {
    let new = new.into();
    batch.must("placing a descriptor", libc::SYS_dup3, &[new, slot.into(), libc::O_CLOEXEC.into()]);
    batch.may("closing", libc::SYS_close, &[new]);
}

/// How many descriptors a process may have here.
fn limit(stubs: &mut dyn Stubs) -> Result<u64, Error> {
    let mut batch = Batch::new();
    let room = batch.room(16);
    let get = [0.into(), libc::RLIMIT_NOFILE.into(), 0.into(), room.into()];
    batch.must("reading a limit of descriptors", libc::SYS_prlimit64, &get);
    let done = stubs.run(stubs.holder(), &batch)?;
    let soft = done.bytes(room).first_chunk().copied();
    Ok(soft.map_or(0, u64::from_ne_bytes))
}

/// While it is put together, a session has each of its files twice in one table.
fn within(limit: u64, number: i32, image: &Descriptors) -> Result<(), Error> {
    if i64::from(number).cast_unsigned() < limit {
        return Ok(());
    }
    // None has more of them than this one.
    let largest = image.tables.iter().max_by_key(|table| table.entries.len());
    let (process, pid) = largest.map_or_else(Default::default, |t| (t.name.clone(), t.pid.unsigned_abs()));
    Err(Error::Refused(vec![Refusal {
        process,
        pid,
        what: format!("its {} open files", image.files.len()),
        reason: format!("a process may have {limit} descriptors on that machine, and more are needed on the way"),
        remedy: "Raise the limit of open files there (`ulimit -Hn`, or LimitNOFILE of the user's services), or have the \
                 program close some."
            .to_owned(),
    }]))
}

/// The first place from `base` on with so many numbers that neither the image nor the stubs use.
fn free_room(stubs: &mut dyn Stubs, mut base: i32, room: i32, used: &BTreeSet<i32>) -> Result<i32, Error> {
    for _ in 0..8 {
        while let Some(last) = used.range(base..base.saturating_add(room)).next_back() {
            base = last + 1;
        }
        let mut highest = None;
        let numbers: Vec<i32> = (base..base + room).collect();
        for part in numbers.chunks(CALLS) {
            let mut batch = Batch::new();
            let asked: Vec<_> = part
                .iter()
                .map(|&n| (n, batch.may("looking", libc::SYS_fcntl, &[n.into(), libc::F_GETFD.into()])))
                .collect();
            let done = stubs.run(stubs.holder(), &batch)?;
            highest = asked.iter().filter(|(_, r)| done.ret(*r) >= 0).map(|(n, _)| *n).max().or(highest);
        }
        match highest {
            None => return Ok(base),
            Some(taken) => base = taken + 1,
        }
    }
    Err(Error::Image("there is no room for its descriptors".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_files_than_a_process_may_have_are_refused() {
        let image = Descriptors::default();
        within(1024, 1023, &image).unwrap();
        let Error::Refused(refusals) = within(1024, 1024, &image).unwrap_err() else {
            panic!("another error")
        };
        assert!(refusals[0].reason.contains("1024"));
    }
}
