//! Adding entries to epolls, by number, in a process in which every number is free.
//!
//! An entry with EPOLLONESHOT that has told its event is disarmed: it says nothing, not even of errors and
//! hang-ups, until it is armed anew, because whoever took the event has the file for himself. epoll_ctl(2) always asks
//! for errors and hang-ups, and only telling disarms. So such entries are added first, one at a time, asking for
//! everything, and the event is taken. What is ready for nothing then (a listener; whatever is full) keeps asking
//! for errors and hang-ups.

use roam_sys::batch::{Batch, RetOf};

use super::build::{Build, EpollEntry};
use crate::error::Error;

/// EPOLLWAKEUP, EPOLLONESHOT, EPOLLET, EPOLLEXCLUSIVE: all that the kernel leaves of a disarmed entry.
const HOW: u32 =
    (libc::EPOLLWAKEUP | libc::EPOLLONESHOT | libc::EPOLLET | libc::EPOLLEXCLUSIVE).cast_unsigned();
const ANYTHING: u32 =
    (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLERR | libc::EPOLLHUP)
        .cast_unsigned();

impl EpollEntry {
    /// It has told its event and was not armed anew.
    pub fn is_disarmed(&self) -> bool {
        is_disarmed(self.events)
    }

    /// Adds it in a process whose low numbers are free.
    pub fn add(&self, batch: &mut Batch) {
        self.place(batch);
        self.control(libc::EPOLL_CTL_ADD, self.events, batch);
    }

    /// Adds it disarmed. The epoll has no other entries but such, and the process that adds is this one.
    ///
    /// # Errors
    /// If a call fails.
    pub fn add_disarmed(&self, pid: i32, at: &mut Build<'_>) -> Result<(), Error> {
        let mut batch = Batch::new();
        self.place(&mut batch);
        self.control(libc::EPOLL_CTL_ADD, self.events | ANYTHING, &mut batch);
        let told = self.take_event(&mut batch);
        if at.run(Some(pid), &batch)?.ret(told) == 1 {
            return Ok(());
        }
        let mut batch = Batch::new();
        match self.other_end(pid, at)? {
            // An empty pipe: a byte goes through it.
            Some(end) => {
                let byte = batch.room(1);
                batch.must("waking an epoll", libc::SYS_write, &[end.into(), byte.into(), 1u32.into()]);
                self.take_event(&mut batch);
                let read = [self.number.into(), byte.into(), 1u32.into()];
                batch.must("taking the byte that woke an epoll", libc::SYS_read, &read);
                batch.must("closing", libc::SYS_close, &[end.into()]);
            }
            None => self.control(libc::EPOLL_CTL_MOD, self.events, &mut batch),
        }
        at.run(Some(pid), &batch).map(drop)
    }

    /// A new end of the target to write to, if it is a pipe that may be written to.
    fn other_end(&self, pid: i32, at: &mut Build<'_>) -> Result<Option<i32>, Error> {
        if !self.reads_pipe {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let path = batch.c_string(format!("/proc/self/fd/{}", self.number).as_bytes());
        let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let open = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0u32.into()];
        let end = batch.may("opening the other end of a pipe", libc::SYS_openat, &open);
        let end = at.run(Some(pid), &batch)?.ret(end);
        Ok(i32::try_from(end).ok().filter(|end| *end >= 0))
    }

    fn place(&self, batch: &mut Batch) {
        let dup = [self.target.into(), self.number.into(), libc::O_CLOEXEC.into()];
        batch.must("placing the target of an epoll", libc::SYS_dup3, &dup);
    }

    fn control(&self, operation: i32, events: u32, batch: &mut Batch) {
        let event = [&events.to_ne_bytes()[..], &self.data.to_ne_bytes()].concat();
        let event = batch.data(&event);
        let args = [self.epoll.into(), operation.into(), self.number.into(), event.into()];
        batch.must("adding to an epoll", libc::SYS_epoll_ctl, &args);
    }

    fn take_event(&self, batch: &mut Batch) -> RetOf {
        let event = batch.room(12);
        let args = [self.epoll.into(), event.into(), 1u32.into(), 0u32.into()];
        batch.must("disarming an entry of an epoll", libc::SYS_epoll_wait, &args)
    }
}

/// What is left of an entry that has told its one event.
pub fn is_disarmed(events: u32) -> bool {
    events & libc::EPOLLONESHOT.cast_unsigned() != 0 && events & !HOW == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_told_its_event_is_disarmed() {
        assert!(is_disarmed(0x4000_0000) && is_disarmed(0xc000_0000));
        // Armed for errors and hang-ups; waiting without end; exclusive.
        assert!(!is_disarmed(0x4000_0018) && !is_disarmed(0x8000_0000) && !is_disarmed(0x1000_0019));
    }
}
