//! Filling the queue of a UDP socket, where the kernel drops what does not fit and says nothing: each datagram is
//! awaited.
//!
//! Refused: more than fits into the largest buffer that a program may have on this machine (net.core.rmem_max); as far
//! as can be told, before anything is frozen.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use roam_sys::batch::{Batch, Data, Done};
use roam_sys::socket;

use super::build::Build;
use super::gather::Known;
use super::inet::{Address, set_integer};
use super::inet_options;
use super::open_file::{FileId, Look};
use super::udp::Datagram;
use super::wants::Is;
use crate::error::Error;

/// How long a datagram may take inside a pod.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the kernel counts of a socket, 36 bytes: the memory that its queue takes comes first, datagrams that were
/// dropped last.
const SO_MEMINFO: i32 = 55;

/// A socket's queue that is being filled, with as much room as a program may have.
pub(super) struct Queue {
    id: FileId,
    slot: i32,
    /// The room that it had, and which sizes were chosen by the program.
    usual: (i32, i32),
    /// How much is in it, and how many did not fit, as the kernel counts.
    now: (u32, u32),
}

impl Queue {
    /// Makes room.
    ///
    /// # Errors
    /// If calls fail.
    pub(super) fn of(id: FileId, at: &mut Build<'_>) -> Result<Self, Error> {
        let slot = at.slot(id);
        let mut batch = Batch::new();
        let [room, chosen] = [libc::SO_RCVBUF, inet_options::SO_BUF_LOCK].map(|name| {
            let (value, length) = (batch.room(4), batch.data(&4u32.to_ne_bytes()));
            let ask = [slot.into(), libc::SOL_SOCKET.into(), name.into(), value.into(), length.into()];
            batch.must("asking for the room of a queue", libc::SYS_getsockopt, &ask);
            value
        });
        set_integer(slot, (libc::SOL_SOCKET, libc::SO_RCVBUF), i32::MAX / 2, &mut batch);
        let counts = counts(slot, &mut batch);
        let done = at.run(None, &batch)?;
        let number = |data| done.u32(data).cast_signed();
        // The kernel doubles what it is told.
        let usual = (number(room) / 2, number(chosen));
        Ok(Self { id, slot, usual, now: counts_of(&done, counts) })
    }

    /// Sends a datagram and waits until it is there.
    ///
    /// # Errors
    /// Refused if there is no room for it here.
    pub(super) fn send(
        &mut self,
        from: i32,
        datagram: &Datagram,
        to: Address,
        at: &mut Build<'_>,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        let (data, name) = (batch.data(&datagram.bytes), to.bytes());
        let length = name.len();
        let name = batch.data(&name);
        let size = datagram.bytes.len().into();
        let args = [from.into(), data.into(), size, 0u32.into(), name.into(), length.into()];
        batch.must("sending what was not read", libc::SYS_sendto, &args);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = counts(self.slot, &mut batch);
            let now = counts_of(&at.run(None, &batch)?, counts);
            if now.0 > self.now.0 {
                self.now = now;
                return Ok(());
            }
            if now.1 != self.now.1 || Instant::now() > deadline {
                return Err(Error::Refused(vec![at.image.refusal(self.id, no_room())]));
            }
            batch = Batch::new();
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Leaves as much room as there was.
    ///
    /// # Errors
    /// If calls before failed.
    pub(super) fn done(self, at: &mut Build<'_>) -> Result<(), Error> {
        let batch = at.batch(8)?;
        set_integer(self.slot, (libc::SOL_SOCKET, libc::SO_RCVBUF), self.usual.0, batch);
        set_integer(self.slot, (libc::SOL_SOCKET, inet_options::SO_BUF_LOCK), self.usual.1, batch);
        Ok(())
    }
}

fn counts(slot: i32, batch: &mut Batch) -> Data {
    let (room, length) = (batch.room(36), batch.data(&36u32.to_ne_bytes()));
    let args = [slot.into(), libc::SOL_SOCKET.into(), SO_MEMINFO.into(), room.into(), length.into()];
    batch.must("counting what is in a queue", libc::SYS_getsockopt, &args);
    room
}

fn counts_of(done: &Done, counts: Data) -> (u32, u32) {
    (done.u32(counts), done.u32(counts.skip(32)))
}

/// A reason and what helps.
fn no_room() -> (String, String) {
    (
        "the datagrams that it has not read do not fit into the buffer that a program may have on that machine"
            .to_owned(),
        "Raise net.core.rmem_max there, or have the program read them.".to_owned(),
    )
}

/// Kernels count differently what a datagram takes: one in so many bytes is left out of account.
const UNSURE: u64 = 4;

/// Notes how much room a target must have for what waits at this socket now.
pub(super) fn want_room(look: &Look, known: &Known<'_>) {
    let counts =
        socket::option_bytes(look.file.as_fd(), libc::SOL_SOCKET, SO_MEMINFO, 36).unwrap_or_default();
    let taken = counts.first_chunk().map_or(0, |first| u32::from_ne_bytes(*first));
    if taken > 0 {
        known.want(look, Vec::new(), Is::Room(taken));
    }
}

/// Why so much, in bytes of memory, does not fit into a socket's queue on this machine, if that is known.
pub(super) fn lacks_room(taken: u32) -> Option<(String, String)> {
    // Another network namespace of an older kernel does not show it.
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok()?.trim().parse::<u64>().ok()?;
    let taken = u64::from(taken);
    // The kernel doubles what it is told.
    (taken - taken / UNSURE > most.saturating_mul(2)).then(no_room)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use crate::error::Error;
    use std::net::UdpSocket;

    #[test]
    fn what_does_not_fit_is_refused_by_the_name_of_who_has_it() {
        let most: i32 =
            std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
        assert_eq!(lacks_room(most.cast_unsigned()), None);
        assert!(lacks_room(u32::MAX).is_some());
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let forced = socket::set_option(receiver.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, most * 2);
        if forced.is_err() {
            eprintln!("skipped: only root may have a larger buffer than net.core.rmem_max");
            return;
        }
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut left = i64::from(most) * 3;
        while left > 0 {
            sender.send_to(&[7; 60_000], receiver.local_addr().unwrap()).unwrap();
            left -= 60_000;
        }
        let mut session = Session::of(&[receiver.as_fd()]);
        session.end_source();
        drop((receiver, sender));
        let Err(Error::Refused(refusals)) = session.restore() else { panic!("not refused") };
        assert_eq!(refusals[0].what, "descriptor 0");
        assert!(refusals[0].pid > 0 && !refusals[0].process.is_empty(), "{refusals:?}");
    }
}
