//! Contexts of the kernel's asynchronous I/O (io_setup(2)): each is a ring of finished requests in the process's
//! memory, and its address is its id. What nobody has read is carried with its place in the ring, as some programs
//! read the ring themselves.
//!
//! Of requests under way the kernel tells nobody, but it takes only so many: those that it still takes are counted
//! by filling the ring with requests that end at once, and turning it on until it stands as before
//! ([`super::aio_turn`]). What is under way is waited for, since its threads stand still.
//!
//! A ring that a child inherited is the parent's; no call takes it there, and it comes as plain memory.
//!
//! Refused: requests that do not end (IOCB_CMD_POLL), rings that were cut, and a ring that this machine makes larger,
//! because it can have more processors. A wait for several that has some already ends with those, as at a signal.

use std::time::{Duration, Instant};

use roam_api::error::Refusal;
use roam_sys::batch::Batch;
use roam_sys::limits::Raised;
use roam_sys::memory::{self, MemFile};
use roam_sys::procfs::maps::{self, Area};
use serde::{Deserialize, Serialize};

use super::aio_turn::{EVENT, Event, HEADER, Header, Turn};
use crate::capture::ask_alone;
use crate::error::Error;
use crate::freeze::FrozenProcess;
use crate::pages::Mapping;
use crate::restore::stub::Stub;

/// How long requests may still be under way once all threads stand.
const PATIENCE: Duration = Duration::from_millis(500);
const PAGE: u64 = 4096;
/// Slots for which the kernel takes one page.
const SLOTS: u64 = PAGE / EVENT as u64;

/// A ring that a process has mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// First address.
    pub start: u64,
    /// Length in bytes, whole pages.
    pub len: u64,
    /// Whose it is.
    pub what: What,
}

/// What a ring is to the process that maps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Its own context: the slot of the first event that nobody has read, and those events.
    Context(u32, Vec<Event>),
    /// Memory inherited from a parent, with these bytes.
    Inherited(Vec<u8>),
}

/// Whether an area with this name is a ring.
#[must_use]
pub fn is_ring(name: &[u8]) -> bool {
    name == b"/[aio]"
}

/// A refusal of a ring of which only a part is mapped.
#[must_use]
pub fn cut() -> (String, String) {
    (
        "it is a part of the ring of a context of asynchronous I/O (io_setup)".to_owned(),
        "Let the program destroy the context, then try again.".to_owned(),
    )
}

/// Whether anything on this machine has a context, as far as can be told.
#[must_use]
pub fn any() -> bool {
    std::fs::read_to_string("/proc/sys/fs/aio-nr").map_or(true, |text| text.trim() != "0")
}

/// Takes the rings of a frozen process, and leaves them as they were. What is under way ends now, and with it changes
/// memory, files and counters, so all of those come later.
///
/// # Errors
/// [`Error::Refused`] for what can't be carried, or a failed call.
pub fn capture(process: &FrozenProcess) -> Result<Vec<Ring>, Error> {
    let areas = maps::read(process.host)
        .map_err(|e| Error::system(format!("reading the memory map of {}", process.name), e))?;
    // Of one that was cut the layout tells.
    let whole = |area: &Area| area.name.strip_suffix(b" (deleted)").is_some_and(is_ring) && area.offset == 0;
    let all: Vec<Area> = areas.into_iter().filter(whole).collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    // It is a context where a call takes it as one.
    let (asked, done) = ask_alone(process, |batch| {
        let no_time = batch.room(16);
        let ask = |m: &Area| {
            let call = [m.start.into(), 0.into(), 0.into(), 0.into(), no_time.into()];
            batch.may("looking for a context", libc::SYS_io_getevents, &call)
        };
        all.iter().map(ask).collect::<Vec<_>>()
    })?;
    let one = |(m, ret): (&Area, _)| {
        let what = if done.ret(ret) == 0 {
            let (head, events) = settled(process, m)?;
            What::Context(head, events)
        } else {
            // Nothing is left of it if its owner is gone.
            What::Inherited(read(process.host, m.start, m.end - m.start).unwrap_or_default())
        };
        Ok(Ring { start: m.start, len: m.end - m.start, what })
    };
    all.iter().zip(asked).map(one).collect()
}

fn read(host: i32, start: u64, len: u64) -> Result<Vec<u8>, Error> {
    memory::read_vec(host, start, len as usize)
        .map_err(|e| Error::system("reading a ring of asynchronous I/O", e))
}

/// The head and the unread events of a context in which nothing is under way.
fn settled(process: &FrozenProcess, m: &Area) -> Result<(u32, Vec<Event>), Error> {
    let refuse = |reason: &str, remedy: &str| {
        Error::Refused(vec![Refusal {
            process: process.name.clone(),
            pid: process.node.pid.unsigned_abs(),
            what: format!("context of asynchronous I/O at {:x}", m.start),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        }])
    };
    let fill = processors();
    if fill.is_empty() {
        return Err(refuse(
            "this machine does not say which processors it has, so what is under way can't be counted",
            "Let the program destroy the context, then try again.",
        ));
    }
    let look = || {
        let bytes = read(process.host, m.start, m.end - m.start)?;
        let header = Header::parse(&bytes).filter(|header| header.fits(m.end - m.start));
        let header = header.ok_or_else(|| refuse(&cut().0, &cut().1))?;
        Ok::<_, Error>((header, header.unread(&bytes)))
    };
    let (before, unread) = look()?;
    let _raised = Raised::take(process.host, &[libc::RLIMIT_NOFILE]);
    let turn = Turn {
        start: m.start,
        slots: before.slots,
        from: before.tail,
        head: before.head,
        unread: &unread,
        number: free_number(process.host)?,
        fill: &fill,
    };
    let (asked, done) = ask_alone(process, |batch| turn.ask(batch))?;
    let found = asked.found(&done);
    let (mut after, mut now) = look()?;
    if (after.head, after.tail) != (before.head, before.tail) || now != unread || found.events != unread {
        let written = if found.wrote { unread.len() } else { 0 };
        mend(process, m, (before.head, written), found.events)?;
        (after, now) = look()?;
    }
    let mut under_way = found.under_way.saturating_sub(now.len().saturating_sub(found.before));
    let begun = Instant::now();
    while under_way > 0 {
        let seen = now.len();
        (after, now) = look()?;
        under_way = under_way.saturating_sub(now.len() - seen);
        if under_way > 0 && begun.elapsed() > PATIENCE {
            let reason = format!(
                "{under_way} of its requests are under way and do not end (they wait for input, or for a slow disk)"
            );
            return Err(refuse(&reason, "Let the program finish or cancel them, then try again."));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok((after.head, now))
}

/// Something ended while the ring was turned. What nobody has read goes back in, where the ring stands now; all
/// threads stand, so that none has begun to read it. `written` are the first and the number of the slots in which
/// the turn put what is among the events already.
fn mend(
    process: &FrozenProcess,
    m: &Area,
    written: (u32, usize),
    mut events: Vec<Event>,
) -> Result<(), Error> {
    let bytes = read(process.host, m.start, m.end - m.start)?;
    let header = Header::parse(&bytes).ok_or_else(|| Error::Image("a ring has no head".into()))?;
    events.extend(header.passed_by(&bytes, written));
    let slot = |back: usize| (header.tail + header.slots - back as u32 % header.slots) % header.slots;
    let write = |at: u64, bytes: &[u8]| {
        memory::write(process.host, at, bytes)
            .map_err(|e| Error::system("putting back events of asynchronous I/O", e))
    };
    for (i, event) in events.iter().enumerate() {
        write(m.start + (HEADER + slot(events.len() - i) as usize * EVENT) as u64, event)?;
    }
    write(m.start + Header::HEAD, &slot(events.len()).to_le_bytes())
}

/// A number that the process has free besides the lowest.
fn free_number(host: i32) -> Result<i32, Error> {
    let failed = |e| Error::system("listing descriptors", e);
    let mut taken = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{host}/fd")).map_err(failed)? {
        taken.extend(entry.map_err(failed)?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()));
    }
    Ok((0..).filter(|n| !taken.contains(n)).nth(1).expect("one of so many is free"))
}

/// The processors that this machine can have: the kernel keeps a part of what it takes for each.
fn processors() -> Vec<usize> {
    parse_list(&std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default())
}

/// `0-3,8`.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// For how many requests a ring of this length is made, at the least.
fn requests(len: u64) -> u64 {
    // The kernel doubles it, adds two and the head, and takes whole pages.
    ((len / PAGE).saturating_sub(1) * (SLOTS / 2)).saturating_sub(1).max(1)
}

/// Makes the rings anew in the process, where room was left for them.
///
/// # Errors
/// [`Error::Refused`] where this machine can't make one, or a failed call.
pub fn restore(rings: &[Ring], mappings: &[Mapping], name: &[u8], stub: &mut Stub) -> Result<(), Error> {
    for ring in rings {
        let Some(m) = mappings.iter().find(|m| m.start == ring.start && m.end - m.start == ring.len) else {
            return Err(Error::Image(format!("there is no room for a ring at {:x}", ring.start)));
        };
        match &ring.what {
            What::Context(head, events) => make(ring, (*head, events), m.prot, name, stub)?,
            What::Inherited(bytes) => {
                let len = bytes.len().min(ring.len as usize);
                MemFile::open(stub.host)
                    .and_then(|file| file.write(ring.start, &bytes[..len]))
                    .map_err(|e| Error::system("filling an inherited ring", e))?;
            }
        }
    }
    Ok(())
}

fn make(
    ring: &Ring,
    (head, events): (u32, &[Event]),
    prot: i32,
    name: &[u8],
    stub: &mut Stub,
) -> Result<(), Error> {
    let pid = stub.pid.unsigned_abs();
    let refuse = |reason: &str, remedy: &str| {
        Error::Refused(vec![Refusal {
            process: String::from_utf8_lossy(name).into_owned(),
            pid,
            what: format!("context of asynchronous I/O at {:x}", ring.start),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        }])
    };
    let mut batch = Batch::new();
    let id = batch.room(8);
    let setup = [requests(ring.len).into(), id.into()];
    let setup = batch.may("making a context of asynchronous I/O", libc::SYS_io_setup, &setup);
    let done = stub.run(&batch)?;
    match -done.ret(setup) {
        0 => {}
        error if error == i64::from(libc::EAGAIN) => {
            return Err(refuse(
                "this machine allows no more requests of asynchronous I/O (fs.aio-max-nr)",
                "Close programs that use them there, or have its administrator raise the limit.",
            ));
        }
        error if error == i64::from(libc::ENOSYS) => {
            return Err(refuse(
                "this machine's kernel has no asynchronous I/O (CONFIG_AIO)",
                "Move it to a machine that has.",
            ));
        }
        error => {
            let error = std::io::Error::from_raw_os_error(error as i32);
            return Err(Error::system("making a context of asynchronous I/O", error));
        }
    }
    let id = done.u64(id);
    let header = Header::parse(&read(stub.host, id, HEADER as u64)?);
    if !header.is_some_and(|header| header.fits(ring.len)) || head >= header.map_or(0, |h| h.slots) {
        return Err(refuse(
            "this machine makes its ring larger, because it can have more processors",
            "Let the program make it for more requests, or move it to a machine with fewer processors.",
        ));
    }
    let slots = header.map_or(0, |h| h.slots);
    if events.len() as u32 >= slots {
        return Err(Error::Image("a ring has more events than slots".into()));
    }
    let mut batch = Batch::new();
    let to = [id.into(), ring.len.into(), ring.len.into()];
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let args = [to[0], to[1], to[2], how.into(), ring.start.into()];
    batch.must("moving a ring to its place", libc::SYS_mremap, &args);
    stub.run(&batch)?;
    let number = free_number(stub.host)?;
    let turn = Turn { start: ring.start, slots, from: 0, head, unread: events, number, fill: &[] };
    let mut batch = Batch::new();
    turn.ask(&mut batch);
    if prot != libc::PROT_READ | libc::PROT_WRITE {
        let protect = [ring.start.into(), ring.len.into(), prot.into()];
        batch.must("protecting a ring", libc::SYS_mprotect, &protect);
    }
    stub.run(&batch)?;
    let bytes = MemFile::open(stub.host).and_then(|file| {
        let mut bytes = vec![0; ring.len as usize];
        file.read(ring.start, &mut bytes).map(|()| bytes)
    });
    let bytes = bytes.map_err(|e| Error::system("reading a ring of asynchronous I/O", e))?;
    match Header::parse(&bytes) {
        Some(now) if now.head == head && now.unread(&bytes) == events => Ok(()),
        _ => Err(Error::Image("a ring of asynchronous I/O could not be filled".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_parse() {
        assert_eq!(parse_list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_list("0\n"), [0]);
        assert!(parse_list("").is_empty());
    }

    /// What io_setup makes of a number of requests: ioctx_alloc and aio_setup_ring in fs/aio.c.
    fn made(requests: u64, processors: u64) -> u64 {
        let slots = requests.max(processors * 4) * 2 + 2;
        (HEADER as u64 + slots * EVENT as u64).div_ceil(PAGE) * PAGE
    }

    #[test]
    fn a_ring_gets_the_length_that_it_had() {
        for asked in [1, 8, 62, 63, 64, 100, 126, 127, 128, 1000, 4096, 65536] {
            let len = made(asked, 1);
            assert_eq!(made(requests(len), 1), len, "{asked} requests");
            assert!(
                requests(len) <= asked.max(4),
                "{asked}: no more than were asked for count against the limit"
            );
        }
    }
}
