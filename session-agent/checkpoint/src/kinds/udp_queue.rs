//! Filling the queue of a UDP socket, where the kernel drops what does not fit and says nothing: each datagram is
//! awaited.
//!
//! Refused: more than fits into the largest buffer that a program may have on this machine (net.core.rmem_max).

use std::time::{Duration, Instant};

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Data, Done};

use super::build::Build;
use super::inet::{Address, set_integer};
use super::inet_options;
use super::udp::Datagram;
use crate::error::Error;

/// How long a datagram may take inside a pod.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket's queue that is being filled, with as much room as a program may have.
pub(super) struct Queue {
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
    pub(super) fn of(slot: i32, at: &mut Build<'_>) -> Result<Self, Error> {
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
        Ok(Self { slot, usual, now: counts_of(&done, counts) })
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
                return Err(no_room());
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

/// SO_MEMINFO: bytes of memory that its queue takes come first, datagrams that were dropped last.
fn counts(slot: i32, batch: &mut Batch) -> Data {
    const SO_MEMINFO: i32 = 55;
    let (room, length) = (batch.room(36), batch.data(&36u32.to_ne_bytes()));
    let args = [slot.into(), libc::SOL_SOCKET.into(), SO_MEMINFO.into(), room.into(), length.into()];
    batch.must("counting what is in a queue", libc::SYS_getsockopt, &args);
    room
}

fn counts_of(done: &Done, counts: Data) -> (u32, u32) {
    (done.u32(counts), done.u32(counts.skip(32)))
}

fn no_room() -> Error {
    Error::Refused(vec![Refusal {
        process: String::new(),
        pid: 0,
        what: "a UDP socket".to_owned(),
        reason: "the datagrams that it has not read do not fit into the buffer that a program may have on that machine"
            .to_owned(),
        remedy: "Raise net.core.rmem_max there, or have the program read them.".to_owned(),
    }])
}
