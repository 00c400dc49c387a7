//! TCP sockets inside the session: connections in every state, listeners and who waits there.
//!
//! What is not read yet is looked at with MSG_PEEK; what the other side has sent and the kernel has not
//! delivered, with TCP_REPAIR, which the pod's owner may use without any privilege on the machine. Nothing is
//! taken or changed by it. `tcp_build` makes them anew by real connections.
//!
//! Those that wait to be accepted and have sent something are in `tcp_waiting`.
//!
//! Refused: a connection with a program outside the session; another protocol on top of TCP; and, for a moment only,
//! urgent data that is under way or, before Linux 6.9, lies behind other data, and who waits at a listener with a packet
//! filter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use roam_sys::procfs::net::TcpSocket;
use roam_sys::tcp_repair::{self, Queue};
use roam_sys::{descriptor, socket};
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::inet::{self, Address, Sharing};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::socket_options::{self, Filter, SocketOption};
use super::unix::SO_PEEK_OFF;
use super::{inet_options, paths, tcp_build, tcp_waiting};
use crate::error::{Error, TRY_AGAIN};

/// A TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// AF_INET or AF_INET6.
    pub domain: i32,
    /// Its own address, if it has a port.
    pub own: Option<Address>,
    /// Who else may have that address.
    pub sharing: Sharing,
    /// Whom it is connected with.
    pub link: Link,
    /// What it can read, what is under way to it among that.
    pub queue: Vec<u8>,
    /// Which byte of that is the urgent one.
    pub urgent: Option<Urgent>,
    /// It has said that it sends no more.
    pub sends_no_more: bool,
    /// It has said that it reads no more.
    pub reads_no_more: bool,
    /// Options.
    pub options: Vec<SocketOption>,
    /// A packet filter.
    pub filter: Option<Filter>,
}

/// The place of urgent data (MSG_OOB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urgent {
    /// Which byte it is.
    pub at: u32,
    /// The program has read it already; its place in the stream still stops reading.
    pub read: bool,
}

/// Whom a socket is connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum With {
    /// A socket of the session.
    Socket(FileId),
    /// A listener of the session that has not accepted it yet.
    Listener,
    /// Nobody any more.
    Gone,
}

/// Somebody who waits to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Its socket; none if that was closed since.
    pub client: Option<FileId>,
    /// Its address.
    pub own: Address,
    /// Where it asked.
    pub asked: Address,
    /// What it has sent.
    pub sent: Vec<u8>,
    /// Which byte of that is the urgent one.
    pub urgent: Option<u32>,
}

/// Bytes with the flags to send them with, if this one is the urgent one.
pub(super) fn pieces(bytes: &[u8], urgent: Option<u32>) -> impl Iterator<Item = (&[u8], i32)> {
    let (before, rest) = bytes.split_at(urgent.map_or(bytes.len(), |at| bytes.len().min(at as usize)));
    let (urgent, after) = rest.split_at(rest.len().min(1));
    [(before, 0), (urgent, libc::MSG_OOB), (after, 0)].into_iter().filter(|(bytes, _)| !bytes.is_empty())
}

/// Its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// None, and there never was one.
    None,
    /// It accepts connections.
    Listening {
        /// How many may wait.
        backlog: i32,
        /// Those that wait, the first to be accepted first.
        waiting: Vec<Waiter>,
    },
    /// It has one.
    Connected {
        /// The other side's address.
        peer: Address,
        /// The other side.
        with: With,
    },
    /// It asks for one, and nobody answers.
    Connecting {
        /// Whom it asks.
        peer: Address,
    },
    /// It had one.
    Over {
        /// The other side broke it off, and the program has not been told.
        reset: bool,
    },
    /// It was turned down, and the program has not been told.
    Refused,
}

pub(super) const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
pub(super) const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
pub(super) const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;
/// FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING: it has said that it sends no more.
const ENDED: [u8; 5] = [4, 5, 6, 9, 11];
/// TIME_WAIT, CLOSE_WAIT, LAST_ACK, CLOSING: the other side has said so, and that has arrived.
const PEER_ENDED: [u8; 4] = [6, 8, 9, 11];

/// The TCP sockets of the pod.
pub struct Table {
    /// As the kernel lists them.
    pub(super) sockets: Vec<TcpSocket>,
    by_ends: HashMap<(Plain, Plain), FileId>,
}

type Plain = (IpAddr, u16);

impl Table {
    /// Those of these open files, and all that the pod's kernel has.
    ///
    /// # Errors
    /// If /proc can't be read.
    pub fn of(known: &Known<'_>) -> Result<Self, Error> {
        let sockets = roam_sys::procfs::net::tcp(known.pod.init())
            .map_err(|e| Error::system("listing the pod's TCP sockets", e))?;
        let mut by_ends = HashMap::new();
        for (index, look) in known.looks.iter().enumerate().filter(|(_, look)| is_tcp(look)) {
            let own = socket::own_name(look.file.as_fd()).ok().and_then(|name| Address::of(&name));
            if let Some((own, peer)) = own.zip(inet::peer_address(look)) {
                by_ends.insert((own.plain(), peer.plain()), FileId(index as u32));
            }
        }
        Ok(Self { sockets, by_ends })
    }

    /// The socket on the other side.
    pub(super) fn peer(&self, own: Address, peer: Address) -> Option<FileId> {
        self.by_ends.get(&(peer.plain(), own.plain())).copied()
    }

    /// The other side as the kernel has it.
    fn entry(&self, own: Address, peer: Address) -> Option<&TcpSocket> {
        let is = |s: &&TcpSocket| (plain(s.own), plain(s.peer)) == (peer.plain(), own.plain());
        self.sockets.iter().find(is)
    }
}

fn plain(address: std::net::SocketAddr) -> Plain {
    Address(address).plain()
}

fn is_tcp(look: &Look) -> bool {
    inet::is_a(look, libc::SOCK_STREAM, libc::IPPROTO_TCP)
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        is_tcp(look)
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        inet::own_address(look)?;
        inet_options::check_protocol_on_top(look)?;
        let info = Info::of(look.file.as_fd()).map_err(|e| Error::system("looking at a TCP socket", e))?;
        filter(look, &link(look, known, &info)?).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let known = &at.known;
        let failed = |e| Error::system("looking at a TCP socket", e);
        let domain = socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN).map_err(failed)?;
        let info = Info::of(look.file.as_fd()).map_err(failed)?;
        let link = link(look, known, &info)?;
        inet_options::check_protocol_on_top(look)?;
        let filter = filter(look, &link)?;
        let connected = !matches!(link, Link::None | Link::Listening { .. });
        let (queue, urgent) = match &link {
            Link::Connected { with: With::Socket(other), .. } => {
                let other = known.look(*other);
                let others = Info::of(other.file.as_fd()).map_err(failed)?;
                let ended = !PEER_ENDED.contains(&info.state) && others.has_ended();
                delivered_and_not(look, &other, ended)?
            }
            Link::Connected { .. } | Link::Over { .. } => unread(look)?,
            _ => Default::default(),
        };
        let reads_no_more = matches!(link, Link::Connected { .. }) && info.reads_no_more(look.file.as_fd());
        let mut sharing = Sharing::of(look);
        if matches!(link, Link::Connected { .. } | Link::Over { .. }) {
            // What the kernel makes of it when it connects.
            sharing.v6_only = 0;
        }
        Ok(Self {
            domain,
            own: inet::own_address(look)?,
            sharing,
            link,
            queue,
            urgent,
            sends_no_more: info.has_ended(),
            reads_no_more,
            options: inet_options::options(look, connected),
            filter,
        })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        tcp_build::make(self, id, at)
    }

    fn connect(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        tcp_build::connect(self, id, at)
    }

    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        tcp_build::finish(self, id, at)
    }
}

/// Of struct tcp_info.
pub(super) struct Info {
    state: u8,
    /// Of a listener: connections that wait, and the most of them.
    pub(super) waiting: u32,
    backlog: u32,
    /// There is or was a connection.
    was_connected: bool,
}

impl Info {
    pub(super) fn of(fd: BorrowedFd<'_>) -> std::io::Result<Self> {
        let info = socket::option_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 104)?;
        let word =
            |at: usize| info.get(at..at + 4).map_or(0, |w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        Ok(Self {
            state: info.first().copied().unwrap_or(CLOSE),
            waiting: word(24),
            backlog: word(28),
            // The round trip is measured when it opens, and stays.
            was_connected: word(68) != 0,
        })
    }

    /// It asks for a connection and has no answer yet.
    pub(super) fn is_opening(&self) -> bool {
        self.state == SYN_SENT
    }

    /// It has said that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        ENDED.contains(&self.state)
    }

    /// It has said that it reads no more, which only shows while the other side has not ended.
    pub(super) fn reads_no_more(&self, fd: BorrowedFd<'_>) -> bool {
        !PEER_ENDED.contains(&self.state) && socket::events(fd) & libc::POLLRDHUP != 0
    }
}

fn link(look: &Look, known: &Known<'_>, info: &Info) -> Result<Link, Stop> {
    let events = socket::events(look.file.as_fd());
    let failed = |e| Error::system("asking a socket for its name", e);
    let own = socket::own_name(look.file.as_fd()).map_err(failed)?;
    let own = Address::of(&own).ok_or_else(paths::lost)?;
    match info.state {
        CLOSE => Ok(match (info.was_connected, events & libc::POLLERR != 0) {
            (true, reset) => Link::Over { reset },
            (false, true) => Link::Refused,
            (false, false) => Link::None,
        }),
        LISTEN => {
            let found = tcp_waiting::find(look, own, info, known)?;
            let backlog = info.backlog as i32;
            let mut waiting = match found.hidden && known.is_still() {
                true => tcp_waiting::look(look, backlog, found.waiting, known)?,
                false => found.waiting,
            };
            waiting.extend(found.deferred);
            Ok(Link::Listening { backlog, waiting })
        }
        SYN_SENT => {
            let table = known.tcp()?;
            let asked = table.sockets.iter().find(|s| s.inode == look.stat.st_ino);
            let asked = asked.ok_or_else(|| Stop::cannot("its connection is just opening", TRY_AGAIN))?;
            Ok(Link::Connecting { peer: Address(asked.peer) })
        }
        _ => {
            let peer = inet::peer_address(look)
                .ok_or_else(|| Stop::cannot("its connection is just opening or closing", TRY_AGAIN))?;
            let with = with(own, peer, known)?;
            // The other side may be in flight somewhere, which only a capture can see.
            if with == With::Gone && !PEER_ENDED.contains(&info.state) && !known.may_be_in_flight() {
                return Err(Stop::cannot(format!("the other side of it, {peer}, can't be found"), TRY_AGAIN));
            }
            Ok(Link::Connected { peer, with })
        }
    }
}

fn with(own: Address, peer: Address, known: &Known<'_>) -> Result<With, Stop> {
    let table = known.tcp()?;
    if let Some(id) = table.peer(own, peer) {
        return match own.plain() == peer.plain() {
            true => Err(Stop::cannot("it is connected with itself", "Restart the program.")),
            false => Ok(With::Socket(id)),
        };
    }
    match table.entry(own, peer) {
        Some(entry) if entry.inode == 0 && [ESTABLISHED, SYN_RECV, CLOSE_WAIT].contains(&entry.state) => {
            Ok(With::Listener)
        }
        Some(entry) if entry.inode == 0 || known.may_be_in_flight() => Ok(With::Gone),
        None if peer.is_everywhere() => Ok(With::Gone),
        _ => Err(Stop::cannot(
            format!("it is connected with {peer}, which is outside the session"),
            "Close the connection in the program, then try again.",
        )),
    }
}

/// Its packet filter. A listener's is inherited, which those who connect again come too early for.
fn filter(look: &Look, link: &Link) -> Result<Option<Filter>, Stop> {
    let filter = socket_options::filter(look)?;
    match link {
        Link::Listening { waiting, .. } if filter.is_some() && !waiting.is_empty() => Err(Stop::cannot(
            "it has a packet filter, and connections wait at it that are not accepted yet",
            TRY_AGAIN,
        )),
        _ => Ok(filter),
    }
}

type Unread = (Vec<u8>, Option<Urgent>);

/// What has arrived.
fn unread(look: &Look) -> Result<Unread, Stop> {
    let fd = look.file.as_fd();
    let failed = |e| Error::system("looking at what a TCP socket has not read", e);
    let inline = socket::option(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE).map_err(failed)?;
    let set = |inline| socket::set_option(fd, libc::SOL_SOCKET, libc::SO_OOBINLINE, inline).map_err(failed);
    // Reading stops at the urgent byte; with it in line, what can be read is counted beyond it.
    set(0)?;
    let before = descriptor::readable(fd).map_err(failed);
    let urgent = socket::peek_urgent(fd);
    set(1)?;
    let all = descriptor::readable(fd).map_err(failed);
    let unread =
        before.and_then(|before| Ok((before, all?))).map_err(Stop::from).and_then(|lengths| match lengths {
            (_, 0) => Ok(Default::default()),
            (before, all) if before == all => match urgent {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    Err(Stop::cannot("urgent data is under way to it", TRY_AGAIN))
                }
                _ => Ok((socket::peek_stream(fd, all).map_err(failed)?, None)),
            },
            (before, all) => {
                let mut bytes = match before {
                    0 => Vec::new(),
                    _ => socket::peek_stream(fd, before).map_err(failed)?,
                };
                bytes.extend(peek_behind(fd, before, all - before)?);
                Ok((bytes, Some(Urgent { at: before as u32, read: urgent.is_err() })))
            }
        });
    set(inline)?;
    unread
}

/// So many bytes behind others.
fn peek_behind(fd: BorrowedFd<'_>, others: usize, length: usize) -> Result<Vec<u8>, Stop> {
    let failed = |e| Error::system("looking at what a TCP socket has not read", e);
    if others == 0 {
        return Ok(socket::peek_stream(fd, length).map_err(failed)?);
    }
    let set = |offset| socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, offset);
    // An option that TCP has had since Linux 6.9.
    let usual = socket::option(fd, libc::SOL_SOCKET, SO_PEEK_OFF).unwrap_or(-1);
    if set(others as i32).is_err() {
        return Err(Stop::cannot("it has urgent data behind other data that is not read yet", TRY_AGAIN));
    }
    let bytes = socket::peek_stream(fd, length);
    set(usual).and(bytes).map_err(|e| failed(e).into())
}

/// What has arrived, and what the other side has sent that has not. `ended` tells that the other side's end is
/// still under way as well; it counts like a byte.
fn delivered_and_not(look: &Look, other: &Look, ended: bool) -> Result<Unread, Stop> {
    let failed = |e| Error::system("looking at a TCP socket", e);
    if socket::unsent(other.file.as_fd()).map_err(failed)? == 0 {
        return unread(look);
    }
    loop {
        let before = tcp_repair::number(look.file.as_fd(), Queue::Receive).map_err(failed)?;
        let (mut all, urgent) = unread(look)?;
        let (end, queue) = tcp_repair::sent(other.file.as_fd()).map_err(failed)?;
        // The kernel goes on delivering while the session stands still.
        if tcp_repair::number(look.file.as_fd(), Queue::Receive).map_err(failed)? == before {
            let missing = end.wrapping_sub(before).saturating_sub(u32::from(ended)) as usize;
            all.extend(&queue[queue.len().saturating_sub(missing)..]);
            return Ok((all, urgent));
        }
    }
}
