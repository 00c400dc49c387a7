//! What processes asked for with mq_notify(3). Of that the kernel shows only who, how and by which signal, but not
//! the value or cookie that comes with it; so it is recorded when it is asked for, in the pod's book beside the filters
//! (docs/adr/0030), by queue and process.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::{fs, io};

use roam_sys::batch::Batch;
use roam_sys::descriptor;
use roam_sys::memory;
use serde::{Deserialize, Serialize};

/// struct sigevent.
const EVENT: usize = 64;
/// What the kernel sends through a socket of the C library's, which starts a thread then.
const COOKIE: usize = 32;
/// A record as it lies in the book.
pub const RECORD: usize = 24 + EVENT + COOKIE;
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_THREAD: i32 = 2;

/// A queue by device and inode, and a process as the keeper sees it.
pub type Key = (u64, u64, i32);

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// struct sigevent, as it lay in memory.
    pub event: Vec<u8>,
    /// What its value points at, where it is a cookie.
    pub cookie: Vec<u8>,
}

/// What a queue's own file tells of its notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// SIGEV_*.
    pub how: i32,
    /// Its signal, if it is one.
    pub signal: i32,
    /// Who asked, as the reader sees it.
    pub owner: i32,
}

impl Shown {
    /// `QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260`; none if nobody is notified.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| text.split_once(name)?.1.split_whitespace().next()?.parse::<i32>().ok();
        let owner = number("NOTIFY_PID:").filter(|pid| *pid != 0)?;
        Some(Self { how: number("NOTIFY:")?, signal: number("SIGNO:")?, owner })
    }

    /// Reads it of an open queue.
    ///
    /// # Errors
    /// If its user may not read it.
    pub fn of(queue: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let again = descriptor::reopen(queue, libc::O_RDONLY)?;
        let mut text = [0; 160];
        let n = descriptor::read(std::os::fd::AsFd::as_fd(&again), &mut text)?;
        Ok(Self::parse(&String::from_utf8_lossy(&text[..n])))
    }
}

impl Notification {
    /// Reads what a process is about to ask for; none for what the kernel will not take.
    ///
    /// # Errors
    /// If its memory can't be read.
    pub fn read(pid: i32, at: u64) -> io::Result<Self> {
        let event = memory::read_vec(pid, at, EVENT)?;
        let mut this = Self { event, cookie: Vec::new() };
        if this.how() == SIGEV_THREAD {
            this.cookie = memory::read_vec(pid, this.value(), COOKIE)?;
        }
        Ok(this)
    }

    fn value(&self) -> u64 {
        u64::from_le_bytes(self.event[..8].try_into().expect("eight bytes"))
    }

    fn number(&self, at: usize) -> i32 {
        i32::from_le_bytes(self.event[at..at + 4].try_into().expect("four bytes"))
    }

    fn how(&self) -> i32 {
        self.number(12)
    }

    /// Whether the kernel shows this very one.
    #[must_use]
    pub fn is(&self, shown: Shown) -> bool {
        self.how() == shown.how && (shown.how != SIGEV_SIGNAL || self.number(8) == shown.signal)
    }

    /// Adds the call that asks for it, through this descriptor of its process.
    pub fn ask(&self, number: i32, batch: &mut Batch) {
        let event = batch.data(&self.event);
        if !self.cookie.is_empty() {
            let cookie = batch.data(&self.cookie);
            batch.pointer(event, 0, cookie);
        }
        let args = [number.into(), event.into()];
        batch.must("asking to be notified of messages", libc::SYS_mq_notify, &args);
    }

    /// Whether it is as long as it must be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.event.len() == EVENT && self.cookie.len() == if self.how() == SIGEV_THREAD { COOKIE } else { 0 }
    }

    /// As it lies in the book.
    #[must_use]
    pub fn record(&self, (device, inode, pid): Key) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..8].copy_from_slice(&device.to_le_bytes());
        bytes[8..16].copy_from_slice(&inode.to_le_bytes());
        bytes[16..20].copy_from_slice(&pid.to_le_bytes());
        bytes[24..24 + EVENT].copy_from_slice(&self.event);
        bytes[24 + EVENT..][..self.cookie.len()].copy_from_slice(&self.cookie);
        bytes
    }

    /// From the book.
    #[must_use]
    pub fn from_record(bytes: &[u8]) -> Option<(Key, Self)> {
        let bytes: &[u8; RECORD] = bytes.try_into().ok()?;
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let (event, cookie) = bytes[24..].split_at(EVENT);
        let mut this = Self { event: event.to_vec(), cookie: Vec::new() };
        if this.how() == SIGEV_THREAD {
            this.cookie = cookie.to_vec();
        }
        Some(((word(0), word(8), word(16) as u32 as i32), this))
    }
}

/// Those of a book, each with where its record lies.
pub type Recorded = HashMap<Key, (u64, Notification)>;

/// So many are kept without asking whether their processes are still there.
const MANY: usize = 256;

/// Forgets what a process that is no more asked for, if much is recorded, and returns where that lies.
pub fn forget_one(recorded: &mut Recorded) -> Option<u64> {
    if recorded.len() < MANY {
        return None;
    }
    let gone = |(_, _, pid): &Key| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    let key = recorded.keys().copied().find(gone)?;
    recorded.remove(&key).map(|(at, _)| at)
}

/// The queue that a process has open under this number.
///
/// # Errors
/// If there is none.
pub fn key(pid: i32, number: i32) -> io::Result<Key> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(format!("/proc/{pid}/fd/{number}"))?;
    Ok((meta.dev(), meta.ino(), pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(how: i32, signal: i32) -> Notification {
        let mut event = vec![0; EVENT];
        event[..8].copy_from_slice(&77u64.to_le_bytes());
        event[8..12].copy_from_slice(&signal.to_le_bytes());
        event[12..16].copy_from_slice(&how.to_le_bytes());
        Notification { event, cookie: if how == SIGEV_THREAD { vec![9; COOKIE] } else { Vec::new() } }
    }

    #[test]
    fn what_a_queue_shows_is_read() {
        let shown = Shown::parse("QSIZE:129        NOTIFY:2    SIGNO:0     NOTIFY_PID:8260  \n");
        assert_eq!(shown, Some(Shown { how: 2, signal: 0, owner: 8260 }));
        assert_eq!(Shown::parse("QSIZE:0          NOTIFY:0    SIGNO:0     NOTIFY_PID:0     \n"), None);
        assert_eq!(Shown::parse(""), None);
    }

    #[test]
    fn records_come_back() {
        for one in [notification(SIGEV_SIGNAL, 40), notification(SIGEV_THREAD, 5), notification(1, 0)] {
            let key = (7, 1 << 40, 321);
            assert!(one.is_whole());
            assert_eq!(Notification::from_record(&one.record(key)), Some((key, one)));
        }
        assert_eq!(Notification::from_record(&[0; 5]), None);
    }

    #[test]
    fn of_many_those_of_processes_that_are_gone_are_forgotten() {
        let alive = std::process::id() as i32;
        let one = |pid: i32, at: u64| ((7, at, pid), (at, notification(1, 0)));
        let mut few: Recorded = (0..10).map(|at| one(i32::MAX, at)).collect();
        assert_eq!(forget_one(&mut few), None);
        let mut recorded: Recorded = (0..MANY as u64).map(|at| one(alive, at)).collect();
        assert_eq!(forget_one(&mut recorded), None);
        recorded.extend([one(i32::MAX, 999)]);
        assert_eq!(forget_one(&mut recorded), Some(999));
        assert_eq!(recorded.len(), MANY);
    }

    #[test]
    fn another_signal_is_another_notification() {
        let one = notification(SIGEV_SIGNAL, 40);
        assert!(one.is(Shown { how: SIGEV_SIGNAL, signal: 40, owner: 1 }));
        assert!(!one.is(Shown { how: SIGEV_SIGNAL, signal: 41, owner: 1 }));
        assert!(!one.is(Shown { how: SIGEV_THREAD, signal: 0, owner: 1 }));
        let mut batch = Batch::new();
        notification(SIGEV_THREAD, 5).ask(3, &mut batch);
        assert_eq!(batch.len(), 2, "the cookie's place, and the call");
    }
}
