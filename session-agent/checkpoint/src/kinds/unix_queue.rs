//! What is queued in unix sockets, looked at with SO_PEEK_OFF and left where it is.
//!
//! A message may carry descriptors, which arrive here as duplicates and may be sockets with queues of
//! their own; so this runs before any kind is asked.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use roam_sys::descriptor;
use roam_sys::socket::{self, Peeked};
use roam_sys::unix_diag::LISTEN;

use super::gather::Known;
use super::open_file::{FileId, Look, Stop};
use super::unix::{Message, SO_PEEK_OFF, diag, is_unix};
use crate::error::Error;
use crate::pod::Externals;

/// Queued data of a socket is bounded by its buffers; more than this is not believed.
const MOST_MESSAGES: usize = 1 << 16;
const FIRST: usize = 64 << 10;
const LARGEST: usize = 16 << 20;

/// The queues of all unix sockets, and of those found in them.
///
/// # Errors
/// If a queue can't be read.
pub fn peek_all(
    known: &mut Known<'_>,
    externals: &dyn Externals,
) -> Result<HashMap<FileId, Vec<Message>>, Error> {
    let mut queues = HashMap::new();
    let mut next = 0;
    while next < known.looks.len() {
        let look = Rc::clone(&known.looks[next]);
        let id = FileId(next as u32);
        next += 1;
        if known.externals[next - 1].is_some() || !is_unix(&look) {
            continue;
        }
        // What sock_diag does not know is refused by its kind.
        let diag = match diag(&look, known) {
            Ok(diag) => diag,
            Err(Stop::Cannot { .. }) => continue,
            Err(Stop::Failed(e)) => return Err(e),
        };
        if diag.state == LISTEN || (diag.incoming == 0 && diag.peer.is_some() && !is_datagram(&look)) {
            continue;
        }
        let queue = peek_queue(look.file.as_fd())
            .map_err(|e| Error::system("looking at what is queued in a unix socket", e))?;
        let mut messages = Vec::with_capacity(queue.len());
        for peeked in queue {
            messages.push(message(peeked, &look, known, externals)?);
        }
        if !messages.is_empty() {
            queues.insert(id, messages);
        }
    }
    Ok(queues)
}

fn is_datagram(look: &Look) -> bool {
    socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE).ok() == Some(libc::SOCK_DGRAM)
}

fn message(
    peeked: Peeked,
    look: &Look,
    known: &mut Known<'_>,
    externals: &dyn Externals,
) -> Result<Message, Error> {
    let mut files = Vec::with_capacity(peeked.files.len());
    for file in peeked.files {
        let id = known.intern_in_flight(file, look.holder, externals);
        files.push(id.map_err(|e| Error::system("looking at a descriptor in flight", e))?);
    }
    let credentials = peeked.credentials.and_then(|[pid, uid, gid]| {
        let pid = known.pod_pid(pid as i32)?;
        Some([pid as u32, uid, gid])
    });
    let from = peeked.from.get(2..).unwrap_or_default().to_vec();
    Ok(Message { bytes: peeked.bytes, files, credentials, from })
}

/// Everything in the queue, in order. The socket is left as it was.
pub(super) fn peek_queue(fd: BorrowedFd<'_>) -> io::Result<Vec<Peeked>> {
    let before = socket::option(fd, libc::SOL_SOCKET, SO_PEEK_OFF)?;
    let result = peek_from_start(fd);
    socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, before)?;
    result
}

fn peek_from_start(fd: BorrowedFd<'_>) -> io::Result<Vec<Peeked>> {
    let stream = socket::option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM;
    let mut all: Vec<Peeked> = Vec::new();
    let mut offset = 0;
    socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, 0)?;
    while all.len() < MOST_MESSAGES {
        // Looking beyond the last message would take an error that waits to be told.
        if socket::has_error(fd) && offset >= descriptor::readable(fd)? {
            return Ok(all);
        }
        let peeked = match peek_one(fd, offset) {
            Ok(peeked) => peeked,
            Err(e) if end(&e) => return Ok(all),
            Err(e) => return Err(e),
        };
        let len = peeked.bytes.len();
        if len == 0 && (stream || peeked.from.is_empty() && peeked.files.is_empty() && is_shut(fd)) {
            return Ok(all);
        }
        if stream && !peeked.files.is_empty() && len > 1 {
            split_at_files(fd, offset, peeked, &mut all)?;
        } else {
            all.push(peeked);
        }
        offset += len;
        if stream {
            socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, offset as i32)?;
        }
    }
    Err(io::Error::other("the queue does not end"))
}

/// No more data: nothing queued, or a socket that can't have any.
fn end(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINVAL | libc::ENOTCONN | libc::ECONNRESET))
}

fn is_shut(fd: BorrowedFd<'_>) -> bool {
    // A socket that receives no more reads as ended for ever, and polls so.
    let mut poll = [nix::poll::PollFd::new(fd, nix::poll::PollFlags::from_bits_retain(libc::POLLRDHUP))];
    nix::poll::poll(&mut poll, nix::poll::PollTimeout::ZERO).is_ok_and(|n| n > 0)
}

/// The message at the offset, however long it is.
fn peek_one(fd: BorrowedFd<'_>, offset: usize) -> io::Result<Peeked> {
    let mut room = FIRST;
    loop {
        match socket::peek(fd, room) {
            Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) && room < LARGEST => {
                room = LARGEST;
                socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, offset as i32)?;
            }
            other => return other,
        }
    }
}

/// A stream gives plain data and the data with descriptors behind it in one go. A reader of fewer bytes
/// must not get the descriptors early, so find where they are attached.
fn split_at_files(
    fd: BorrowedFd<'_>,
    offset: usize,
    peeked: Peeked,
    all: &mut Vec<Peeked>,
) -> io::Result<()> {
    socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, offset as i32)?;
    let without = socket::plain_before_files(fd, peeked.bytes.len())?;
    let without = without.min(peeked.bytes.len());
    let bytes = peeked.bytes[without..].to_vec();
    if without > 0 {
        all.push(Peeked {
            bytes: peeked.bytes[..without].to_vec(),
            files: Vec::new(),
            credentials: peeked.credentials,
            ..Peeked::default()
        });
    }
    all.push(Peeked { bytes, ..peeked });
    Ok(())
}
