//! Open files that are about a thread other than its process's first: handles (PIDFD_THREAD), files of /proc. Threads
//! share the descriptors of their process, so they are made after them; what is about a thread is made after both.
//!
//! Until then one end of a pair of sockets stands in for such a file, under all its numbers in all processes. The real one
//! is opened in the holder and sent through the other end, once for each process.
//!
//! Refused: such files in an epoll, or in flight in a socket.

use roam_sys::batch::{Arg, Batch, Data};

use super::build::Build;
use super::descriptors::{self, Descriptors};
use super::gather::Known;
use super::kernel_file;
use super::open_file::{FileId, Kind, Look, Stop};
use super::pidfd;
use crate::error::Error;
use crate::stubs::Stubs;

const REMEDY: &str = "Try again in a moment; if it stays so, let the program close it.";
/// struct cmsghdr with one descriptor.
const CONTROL: usize = 24;

/// A file that is still to be made.
#[derive(Debug)]
pub struct Late {
    file: FileId,
    /// The holder's number of the end through which it is sent.
    end: i32,
}

/// Whether an open file of the session is such.
pub(super) fn is(look: &Look, known: &Known<'_>) -> bool {
    pidfd::is_of_thread(look, known) || kernel_file::is_of_thread(look, known)
}

/// Refuses what of them can't be carried.
///
/// # Errors
/// The refusal.
pub(super) fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
    if look.in_flight || known.id(look).is_some_and(|id| known.is_in_flight(id)) {
        return Err(Stop::cannot("it is about a thread and in flight in a socket", REMEDY));
    }
    Ok(())
}

/// Refuses an epoll that waits for such a file.
///
/// # Errors
/// The refusal.
pub(super) fn check_awaited(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
    if is(look, known) {
        return Err(Stop::cannot(
            "it waits for a file or handle of a thread that is not the first of its process",
            REMEDY,
        ));
    }
    Ok(())
}

/// Puts what stands in for the file into its slot.
pub(super) fn stand_in(id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    let mut batch = Batch::new();
    let ends = batch.room(8);
    let kind = (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC).into();
    let pair = [libc::AF_UNIX.into(), kind, 0.into(), ends.into()];
    batch.must("making what stands in for a file", libc::SYS_socketpair, &pair);
    let done = at.run(None, &batch)?;
    let slot = at.slot(id);
    at.place(done.u32(ends) as i32, slot);
    at.remember_late(Late { file: id, end: done.u32(ends.skip(4)) as i32 })
}

/// Whether a file of the image is made late.
#[must_use]
pub fn is_late(kind: &Kind) -> bool {
    matches!(kind, Kind::PidFd(pidfd::State { late: true, .. }))
        || matches!(kind, Kind::Kernel(kernel_file::State { late: true, .. }))
}

/// Makes all of them. The threads are there.
///
/// # Errors
/// A failed call.
pub fn make(image: &Descriptors, late: &[Late], stubs: &mut dyn Stubs) -> Result<(), Error> {
    let holder = stubs.holder();
    for Late { file: id, end } in late {
        let lost = || Error::Image("a file that is about a thread is missing".to_owned());
        let file = image.files.get(id.0 as usize).ok_or_else(lost)?;
        let mut batch = Batch::new();
        let opened = match &file.kind {
            Kind::PidFd(state) => state.open(&mut batch).ok_or_else(lost)?,
            Kind::Kernel(state) => state.open(file.flags, &mut batch),
            _ => return Err(lost()),
        };
        let opened = stubs.run(holder, &batch)?.ret(opened) as i32;
        let mut batch = Batch::new();
        descriptors::set_flags(opened, file, &mut batch);
        stubs.run(holder, &batch)?;
        for table in &image.tables {
            let entries: Vec<_> = table.entries.iter().filter(|e| e.file == *id).collect();
            let Some(first) = entries.first() else { continue };
            let mut batch = Batch::new();
            send(*end, opened, &mut batch);
            stubs.run(holder, &batch)?;
            let mut batch = Batch::new();
            let got = Arg::Load32(receive(first.number, &mut batch));
            for entry in entries {
                let cloexec = if entry.cloexec { libc::O_CLOEXEC } else { 0 };
                let dup = [got, entry.number.into(), cloexec.into()];
                batch.must("giving a descriptor its number", libc::SYS_dup3, &dup);
            }
            batch.must("closing", libc::SYS_close, &[got]);
            stubs.run(table.pid, &batch)?;
        }
        let mut batch = Batch::new();
        batch.must("closing", libc::SYS_close, &[opened.into()]);
        batch.must("closing", libc::SYS_close, &[(*end).into()]);
        stubs.run(holder, &batch)?;
    }
    Ok(())
}

/// Adds the sending of a descriptor through a socket.
fn send(socket: i32, descriptor: i32, batch: &mut Batch) {
    let control =
        [&20u64.to_le_bytes()[..], &libc::SOL_SOCKET.to_le_bytes(), &libc::SCM_RIGHTS.to_le_bytes()];
    let control = [&control.concat()[..], &descriptor.to_le_bytes(), &[0; 4]].concat();
    let (byte, control) = (batch.data(b"f"), batch.data(&control));
    let header = header(byte, control, batch);
    let args = [socket.into(), header.into(), libc::MSG_NOSIGNAL.into()];
    batch.must("sending a descriptor", libc::SYS_sendmsg, &args);
}

/// Adds the receiving of a descriptor from a socket; it stands, close-on-exec, where this says.
pub fn receive(socket: i32, batch: &mut Batch) -> Data {
    let (byte, control) = (batch.room(1), batch.room(CONTROL));
    let header = header(byte, control, batch);
    let args = [socket.into(), header.into(), libc::MSG_CMSG_CLOEXEC.into()];
    batch.must("receiving a descriptor", libc::SYS_recvmsg, &args);
    control.skip(16)
}

/// struct msghdr with one byte of data and room for one descriptor.
fn header(byte: Data, control: Data, batch: &mut Batch) -> Data {
    let (vector, header) = (batch.room(16), batch.room(56));
    batch.pointer(vector, 0, byte);
    batch.set_u64(vector, 8, 1);
    batch.pointer(header, 16, vector);
    batch.set_u64(header, 24, 1);
    batch.pointer(header, 32, control);
    batch.set_u64(header, 40, CONTROL as u64);
    header
}
