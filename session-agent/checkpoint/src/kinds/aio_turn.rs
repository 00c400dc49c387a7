//! Turning a ring of asynchronous I/O: the calls that take it from one place to another, in one batch that leaves it
//! whole also if nobody sees the end of it.
//!
//! The kernel alone moves the tail, one slot for each request that ends. So requests are made that end at once: to
//! wait until a counter can be written to, which it can.

use roam_sys::batch::{Batch, Data, Done, RetOf};

/// struct io_event: data, request, two results.
pub const EVENT: usize = 32;
/// struct aio_ring: id, number of slots, head, tail, magic, features, the length of this.
pub const HEADER: usize = 32;
/// An event as it stands in the ring.
pub type Event = [u8; EVENT];

const MAGIC: u32 = 0xa10a_10a1;
/// What marks the events of requests that are made here.
const MARK: u64 = 0x6d61_6f72_a10a_10a1;
const IOCB_CMD_POLL: u16 = 5;
/// Requests in one call.
const MANY: usize = 128;
/// Requests at once while the ring is moved on: the kernel may keep up to half for other processors.
const FEW: u32 = 32;
const NEVER: &str = "moving a ring of asynchronous I/O";

/// The beginning of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How many slots it has.
    pub slots: u32,
    /// The first that nobody has read.
    pub head: u32,
    /// The next to be written.
    pub tail: u32,
}

impl Header {
    /// Where the head is.
    pub const HEAD: u64 = 8;

    /// Reads it; none if it is not a ring.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |i: usize| Some(u32::from_le_bytes(bytes.get(4 * i..4 * i + 4)?.try_into().ok()?));
        let slots = word(1)?;
        if word(4)? != MAGIC || slots == 0 || word(7)? as usize != HEADER {
            return None;
        }
        // The program may write the head, and the kernel takes it like this.
        Some(Self { slots, head: word(2)? % slots, tail: word(3)? % slots })
    }

    /// Whether a ring of so many bytes has so many slots.
    #[must_use]
    pub fn fits(&self, len: u64) -> bool {
        (len as usize).checked_sub(HEADER).is_some_and(|rest| rest / EVENT == self.slots as usize)
    }

    /// The events that nobody has read.
    #[must_use]
    pub fn unread(&self, ring: &[u8]) -> Vec<Event> {
        let count = (self.tail + self.slots - self.head) % self.slots;
        let slot = |i: u32| {
            let at = HEADER + ((self.head + i) % self.slots) as usize * EVENT;
            ring.get(at..at + EVENT)?.try_into().ok()
        };
        (0..count).filter_map(slot).collect()
    }

    /// The program's events in a ring after a turn, but for what that wrote: from a slot on, so many.
    #[must_use]
    pub fn passed_by(&self, ring: &[u8], (first, count): (u32, usize)) -> Vec<Event> {
        let written = |i: usize| {
            let slot = (self.head + i as u32) % self.slots;
            (((slot + self.slots - first) % self.slots) as usize) < count
        };
        let unread = self.unread(ring);
        let left = unread.iter().enumerate().filter(|(i, _)| !written(*i)).map(|(_, event)| *event);
        theirs(&left.collect::<Vec<_>>().concat())
    }
}

/// From an empty ring at one place, or one with these unread events, to one with these events at another.
pub struct Turn<'a> {
    /// The ring's address.
    pub start: u64,
    /// How many slots it has.
    pub slots: u32,
    /// Where its tail is.
    pub from: u32,
    /// Where its head is to be.
    pub head: u32,
    /// What is to be unread.
    pub unread: &'a [Event],
    /// A free descriptor number.
    pub number: i32,
    /// The processors on which all that the kernel takes is asked for, to learn how many that are; none to leave it.
    pub fill: &'a [usize],
}

/// Answers that are to come.
pub struct Asked {
    /// What was there before, then all that was read.
    reaped: Vec<Reaped>,
    filled: Vec<RetOf>,
    written: Option<Written>,
    full: usize,
}

/// The slots of the unread just before they were written, and whether they were.
struct Written {
    old: Data,
    ret: RetOf,
}

/// Events that were read from a ring.
struct Reaped(RetOf, Data);

impl Reaped {
    /// Those of the program.
    fn events(&self, done: &Done) -> Vec<Event> {
        let count = usize::try_from(done.ret(self.0)).unwrap_or(0);
        theirs(&done.bytes(self.1)[..count * EVENT])
    }
}

/// What a turn brought to light.
pub struct Found {
    /// How many requests were under way when the ring was full.
    pub under_way: usize,
    /// How many events nobody had read then.
    pub before: usize,
    /// All events of the program that passed by.
    pub events: Vec<Event>,
    /// The unread were written.
    pub wrote: bool,
}

fn theirs(bytes: &[u8]) -> Vec<Event> {
    let events = bytes.chunks_exact(EVENT).filter_map(|event| event.try_into().ok());
    events.filter(|event: &Event| event[..8] != MARK.to_le_bytes()).collect()
}

fn reap(start: u64, most: u32, batch: &mut Batch) -> Reaped {
    let (room, no_time) = (batch.room(most as usize * EVENT), batch.room(16));
    let args = [start.into(), 0.into(), most.into(), room.into(), no_time.into()];
    Reaped(batch.may(NEVER, libc::SYS_io_getevents, &args), room)
}

impl Turn<'_> {
    /// How many requests the kernel takes of an empty ring in which nothing is under way: it gives them to
    /// processors in parts of equal size.
    fn full(&self) -> u32 {
        let part = ((self.slots - 1) / (self.fill.len() as u32 * 4).max(1)).max(1);
        (self.slots - 1) / part * part
    }

    /// Adds the calls. Nothing is done if a number for a descriptor is missing.
    pub fn ask(&self, batch: &mut Batch) -> Asked {
        let counter = batch.must(NEVER, libc::SYS_eventfd2, &[0.into(), libc::O_CLOEXEC.into()]);
        let place = [counter.into(), self.number.into(), libc::O_CLOEXEC.into()];
        batch.must(NEVER, libc::SYS_dup3, &place);
        batch.must(NEVER, libc::SYS_close, &[counter.into()]);
        let request = batch.data(&request(self.number));
        let list = batch.room(MANY * 8);
        for i in 0..MANY {
            batch.pointer(list, i * 8, request);
        }
        let submit = |count: u32, batch: &mut Batch| {
            batch.may(NEVER, libc::SYS_io_submit, &[self.start.into(), count.into(), list.into()])
        };
        let mut reaped = Vec::new();
        let mut filled = Vec::new();
        let mut tail = self.from;
        if !self.fill.is_empty() {
            reaped.push(reap(self.start, self.slots, batch));
            let before = batch.room(CPU_BITS / 8);
            let len = CPU_BITS / 8;
            let known = batch.may(NEVER, libc::SYS_sched_getaffinity, &[0.into(), len.into(), before.into()]);
            for cpu in self.fill.iter().filter(|cpu| **cpu < CPU_BITS) {
                let mut only = vec![0; len];
                only[cpu / 8] = 1 << (cpu % 8);
                let only = batch.data(&only);
                // One that it may not run on is left out.
                batch.may(NEVER, libc::SYS_sched_setaffinity, &[0.into(), len.into(), only.into()]);
                for _ in 0..self.slots.div_ceil(MANY as u32) {
                    filled.push(submit(MANY as u32, batch));
                }
            }
            batch.may(NEVER, libc::SYS_sched_setaffinity, &[0.into(), known.into(), before.into()]);
            reaped.push(reap(self.start, self.slots, batch));
            tail = (tail + self.full()) % self.slots;
        }
        let mut left = (self.head + self.slots - tail) % self.slots;
        while left > 0 {
            let some = left.min(FEW);
            submit(some, batch);
            reaped.push(reap(self.start, some, batch));
            left -= some;
        }
        let written = self.put_unread(&submit, batch);
        batch.may(NEVER, libc::SYS_close, &[self.number.into()]);
        let full = if self.fill.is_empty() { 0 } else { self.full() as usize };
        Asked { reaped, filled, written, full }
    }

    /// Adds the calls that leave so many events unread, and make them these. They are written only if the ring then
    /// stands where it should: whatever ends later ends behind them.
    fn put_unread(&self, submit: &dyn Fn(u32, &mut Batch) -> RetOf, batch: &mut Batch) -> Option<Written> {
        const TAIL: u64 = 12;
        const CMP_REQUEUE_PRIVATE: i32 = libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG;
        let count = self.unread.len() as u32;
        let mut left = count;
        while left > 0 {
            let some = left.min(MANY as u32);
            submit(some, batch);
            left -= some;
        }
        if count == 0 {
            return None;
        }
        let old = batch.room(self.unread.len() * EVENT);
        let new = batch.data(&self.unread.concat());
        // Two pieces where it goes on at the first slot.
        let first = count.min(self.slots - self.head);
        let slot = |slot: u32, len: u32| {
            let at = self.start + (HEADER + slot as usize * EVENT) as u64;
            [at, u64::from(len) * EVENT as u64].map(u64::to_le_bytes).concat()
        };
        let slots = batch.data(&[slot(self.head, first), slot(0, count - first)].concat());
        let (tail, expected) = (self.start + TAIL, (self.head + count) % self.slots);
        let compare =
            [tail.into(), CMP_REQUEUE_PRIVATE.into(), 0.into(), 0.into(), tail.into(), expected.into()];
        // Zero if it is so. As the flags of the other calls, of which there are none, an error forbids them.
        let stands = batch.may(NEVER, libc::SYS_futex, &compare);
        let me = batch.may(NEVER, libc::SYS_getpid, &[]);
        let mut copy = |local: Data, nr| {
            let vector = batch.room(16);
            batch.pointer(vector, 0, local);
            batch.set_u64(vector, 8, local.len() as u64);
            batch.may(NEVER, nr, &[me.into(), vector.into(), 1.into(), slots.into(), 2.into(), stands.into()])
        };
        copy(old, libc::SYS_process_vm_readv);
        Some(Written { old, ret: copy(new, libc::SYS_process_vm_writev) })
    }
}

impl Asked {
    /// What came of it.
    #[must_use]
    pub fn found(&self, done: &Done) -> Found {
        let taken: i64 = self.filled.iter().map(|ret| done.ret(*ret).max(0)).sum();
        let mut events: Vec<Event> = self.reaped.iter().flat_map(|some| some.events(done)).collect();
        let written = self.written.as_ref().filter(|written| done.ret(written.ret) > 0);
        events.extend(written.into_iter().flat_map(|written| theirs(done.bytes(written.old))));
        let before = self.reaped.first().map_or(0, |some| some.events(done).len());
        let under_way = self.full.saturating_sub(usize::try_from(taken).unwrap_or(0));
        Found { under_way, before, events, wrote: written.is_some() }
    }
}

/// Bits of a set of processors.
const CPU_BITS: usize = 8192;

/// struct iocb that ends at once.
fn request(descriptor: i32) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&MARK.to_le_bytes());
    bytes[16..18].copy_from_slice(&IOCB_CMD_POLL.to_le_bytes());
    bytes[20..24].copy_from_slice(&descriptor.to_le_bytes());
    bytes[24..32].copy_from_slice(&(libc::POLLOUT as u64).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(head: u32, tail: u32) -> Vec<u8> {
        let mut bytes = [0, 127, head, tail, MAGIC, 1, 0, HEADER as u32].map(u32::to_le_bytes).concat();
        for slot in 0..127u8 {
            bytes.extend([slot; EVENT]);
        }
        bytes
    }

    #[test]
    fn what_is_unread_goes_on_at_the_first_slot() {
        let bytes = ring(125, 2);
        let header = Header::parse(&bytes).unwrap();
        assert!(header.fits(4096) && !header.fits(8192));
        assert_eq!(header.unread(&bytes), [125, 126, 0, 1].map(|slot| [slot; EVENT]));
        assert!(Header::parse(&ring(3, 3)).unwrap().unread(&bytes).is_empty());
        assert!(Header::parse(&bytes[..31]).is_none() && Header::parse(&[0; 64]).is_none());
    }

    #[test]
    fn what_was_written_has_not_passed_by() {
        let ring = ring(125, 2);
        assert_eq!(Header::parse(&ring).unwrap().passed_by(&ring, (126, 2)), [[125; EVENT], [1; EVENT]]);
    }

    #[test]
    fn own_events_are_told_apart() {
        let mut own = [0; EVENT];
        own[..8].copy_from_slice(&MARK.to_le_bytes());
        assert_eq!(theirs(&[own, [7; EVENT], own].concat()), [[7; EVENT]]);
    }

    #[test]
    fn a_part_of_what_the_kernel_takes_is_never_given_out() {
        let turn = |slots, fill| Turn { start: 0, slots, from: 0, head: 0, unread: &[], number: 3, fill };
        // 126 in parts of 15, as measured with two processors.
        assert_eq!(turn(127, &[0, 1]).full(), 120);
        assert_eq!(turn(127, &[0]).full(), 124);
    }
}
