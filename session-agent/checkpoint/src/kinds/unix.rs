//! Unix sockets: streams, datagrams, sequenced packets; pairs, listeners, names.
//!
//! Who is connected with whom is asked by sock_diag; what is queued is looked at without taking it
//! (`unix_queue`); `unix_build` makes them anew.
//!
//! Those that wait to be accepted and have sent something are in `unix_waiting`.
//!
//! Refused: a socket whose other side is outside the session; a name that is a relative path; and, for a
//! moment only, urgent data.

use std::collections::HashMap;
use std::os::fd::AsFd;

use roam_sys::socket;
use roam_sys::unix_diag::{ESTABLISHED, LISTEN, UnixSocket};
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::kernel_name;
use super::memory::in_root;
use super::namespaces::Id;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::socket_options::{self, Filter};
use super::unix_waiting::{self, Waiter};
use super::{paths, unix_build};
use crate::error::{Error, TRY_AGAIN};

/// A unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET.
    pub kind: i32,
    /// The network that it was made in: abstract names are known only there.
    pub net: Id,
    /// What it is bound to.
    pub name: Option<Name>,
    /// Whom it is connected with.
    pub link: Link,
    /// What it can read.
    pub queue: Vec<Message>,
    /// 1: receives no more, 2: sends no more.
    pub shutdown: u8,
    /// The process that SO_PEERCRED names; of a listener, its own.
    pub credentials: Option<i32>,
    /// Options of SOL_SOCKET.
    pub options: Vec<(i32, Vec<u8>)>,
    /// A packet filter.
    pub filter: Option<Filter>,
}

/// What a socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The address after its family: a path, or a zero and an abstract name.
    pub bytes: Vec<u8>,
    /// Permission bits of the file, if this socket's file is still there.
    pub mode: Option<u32>,
    /// The file was renamed since, to this path.
    pub renamed: Option<Vec<u8>>,
}

/// Whom a socket is connected with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// Nobody.
    None,
    /// It accepts connections.
    Listening {
        /// How many may wait.
        backlog: i32,
        /// Those that wait, the first to be accepted first.
        waiting: Vec<Waiter>,
    },
    /// Both with each other.
    Pair(FileId),
    /// A datagram socket that sends to another, which does not answer.
    To(FileId),
    /// A connection that waits to be accepted.
    Waiting,
    /// The other side is gone.
    Gone {
        /// It went without having read everything, which is told once more.
        reset: bool,
    },
}

/// Something that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its bytes: a message, or part of a stream.
    pub bytes: Vec<u8>,
    /// The open files in flight with it.
    pub files: Vec<FileId>,
    /// pid in the pod, uid and gid of the sender, if the reader asks for them.
    pub credentials: Option<[u32; 3]>,
    /// What the sender is bound to.
    pub from: Vec<u8>,
}

// Younger than some headers.
const SO_PASSPIDFD: i32 = 76;
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
/// Without it no descriptors are received, so that it is put back last.
pub(super) const SO_PASSRIGHTS: i32 = 83;
/// The option that a peek changes, put back last.
pub(super) const SO_PEEK_OFF: i32 = 42;
/// Kept options, with their lengths and what a new socket has.
pub(super) const OPTIONS: [(i32, usize, i64); 17] = [
    (libc::SO_SNDBUF, 4, -1),
    (libc::SO_RCVBUF, 4, -1),
    (libc::SO_PASSCRED, 4, 0),
    (libc::SO_PASSSEC, 4, 0),
    (SO_PASSPIDFD, 4, 0),
    (SO_PASSRIGHTS, 4, 1),
    (libc::SO_RCVLOWAT, 4, 1),
    (libc::SO_OOBINLINE, 4, 0),
    (libc::SO_TIMESTAMP, 4, 0),
    (libc::SO_TIMESTAMPNS, 4, 0),
    (libc::SO_TIMESTAMPING, 4, 0),
    (SO_TIMESTAMP_NEW, 4, 0),
    (SO_TIMESTAMPNS_NEW, 4, 0),
    (SO_PEEK_OFF, 4, -1),
    (libc::SO_LINGER, 8, 0),
    (libc::SO_RCVTIMEO, 16, 0),
    (libc::SO_SNDTIMEO, 16, 0),
];

/// Whether this is a unix socket.
pub(super) fn is_unix(look: &Look) -> bool {
    look.file_type() == libc::S_IFSOCK
        && look.info.flags & libc::O_PATH == 0
        && socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN).ok() == Some(libc::AF_UNIX)
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        is_unix(look)
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        let diag = diag(look, known)?;
        name(look, &diag, known)?;
        socket_options::filter(look)?;
        known.net_of(look)?;
        no_urgent_data(look)?;
        // The other side may be in flight somewhere, which only a capture can see.
        match diag.peer {
            Some(peer) if peer != 0 && peer_id(peer, look, known).is_none() && !known.may_be_in_flight() => {
                Err(outside(look))
            }
            Some(peer) if peer != 0 => Ok(()),
            _ => {
                let kind = socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE);
                let kind = kind.map_err(|e| Error::system("looking at a unix socket", e))?;
                link(kind, look, &diag, known).map(drop)
            }
        }
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let known = &at.known;
        let me = known.id(look).ok_or_else(paths::lost)?;
        let diag = diag(look, known)?;
        let failed = |e| Error::system("looking at a unix socket", e);
        let fd = look.file.as_fd();
        let kind = socket::option(fd, libc::SOL_SOCKET, libc::SO_TYPE).map_err(failed)?;
        let link = link(kind, look, &diag, known)?;
        no_urgent_data(look)?;
        let credentials = match socket::peer_pid(fd).map_err(failed)? {
            0 => None,
            host => known.pod_pid(host),
        };
        let mut options = Vec::new();
        for (option, len, usual) in OPTIONS {
            // An option that this kernel does not have is not set either.
            let Ok(value) = socket::option_bytes(fd, libc::SOL_SOCKET, option, len) else { continue };
            let fresh = usual.to_ne_bytes();
            let is_fresh = match len {
                4 => value == fresh[..4],
                _ => value.iter().all(|&b| b == 0),
            };
            if !is_fresh {
                options.push((option, value));
            }
        }
        let name = name(look, &diag, known)?;
        let queue = at.queues.remove(&me).unwrap_or_default();
        let net = known.net_of(look)?;
        Ok(Self {
            kind,
            net,
            name,
            link,
            queue,
            shutdown: diag.shutdown,
            credentials,
            options,
            filter: socket_options::filter(look)?,
        })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        unix_build::make(self, id, at)
    }

    fn connect(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        unix_build::connect(self, id, at)
    }

    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        unix_build::finish(self, id, at)
    }
}

/// Urgent data hides what comes behind it.
fn no_urgent_data(look: &Look) -> Result<(), Stop> {
    match socket::events(look.file.as_fd()) & libc::POLLPRI {
        0 => Ok(()),
        _ => Err(Stop::cannot("it has urgent data that is not read yet", TRY_AGAIN)),
    }
}

/// What sock_diag says of it.
pub(super) fn diag(look: &Look, known: &Known<'_>) -> Result<UnixSocket, Stop> {
    let all: &HashMap<u64, UnixSocket> = known.unix_sockets()?;
    all.get(&look.stat.st_ino).cloned().ok_or_else(|| {
        Stop::cannot(
            "the socket was made outside the session",
            "Close the connection in the program, then try again.",
        )
    })
}

fn peer_id(inode: u64, look: &Look, known: &Known<'_>) -> Option<FileId> {
    known.of_inode((look.stat.st_dev, inode)).first().copied()
}

fn outside(look: &Look) -> Stop {
    let shown = |name: std::io::Result<Vec<u8>>| {
        let name = name.unwrap_or_default();
        let name = String::from_utf8_lossy(name.get(2..).unwrap_or_default()).replace('\0', "@");
        name.trim_end_matches('@').to_owned()
    };
    let fd = look.file.as_fd();
    let name = match (shown(socket::peer_name(fd)), shown(socket::own_name(fd))) {
        (peer, _) if !peer.is_empty() => format!(" at {peer}"),
        (_, own) if !own.is_empty() => format!(" (our own name is {own})"),
        _ => String::new(),
    };
    Stop::cannot(
        format!("the socket is connected with a program outside the session{name}"),
        "Close the connection in the program, then try again.",
    )
}

fn link(kind: i32, look: &Look, diag: &UnixSocket, known: &Known<'_>) -> Result<Link, Stop> {
    let inode = look.stat.st_ino;
    if diag.state == LISTEN {
        let taken = known.taken.get(&inode);
        if taken.is_none() {
            unix_waiting::check(look, diag, known)?;
        }
        let waiter = |(place, &client): (usize, &u64)| {
            let taken = taken.and_then(|taken| taken.get(place)).cloned().unwrap_or_default();
            Waiter { client: peer_id(client, look, known), ..taken }
        };
        let waiting = diag.waiting.iter().enumerate().map(waiter).collect();
        return Ok(Link::Listening { backlog: diag.outgoing as i32, waiting });
    }
    match diag.peer {
        Some(peer) if peer != 0 => {
            let id = peer_id(peer, look, known).ok_or_else(|| outside(look))?;
            let mutual = known.unix_sockets()?.get(&peer).is_some_and(|p| p.peer == Some(inode));
            Ok(if mutual { Link::Pair(id) } else { Link::To(id) })
        }
        None if kind == libc::SOCK_DGRAM || diag.state != ESTABLISHED => Ok(Link::None),
        _ if known.unix_sockets()?.values().any(|s| s.waiting.contains(&inode)) => Ok(Link::Waiting),
        _ => Ok(Link::Gone { reset: socket::has_error(look.file.as_fd()) }),
    }
}

/// Whether others can connect to it by the name that it has.
///
/// # Errors
/// A refusal of the name.
pub(super) fn can_be_reached(look: &Look, diag: &UnixSocket, known: &Known<'_>) -> Result<bool, Stop> {
    let there = |name: &Name| name.mode.is_some() && name.renamed.is_none();
    Ok(name(look, diag, known)?.is_some_and(|name| path_of(&name.bytes).is_none() || there(&name)))
}

fn name(look: &Look, diag: &UnixSocket, known: &Known<'_>) -> Result<Option<Name>, Stop> {
    let address =
        socket::own_name(look.file.as_fd()).map_err(|e| Error::system("asking a socket for its name", e))?;
    let bytes = address.get(2..).unwrap_or_default().to_vec();
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some(path) = path_of(&bytes) else { return Ok(Some(Name { bytes, mode: None, renamed: None })) };
    if !path.starts_with(b"/") {
        return Err(Stop::cannot(
            format!("its name {} is a relative path", String::from_utf8_lossy(path)),
            "This program can't be moved yet.",
        ));
    }
    let mode = |path: &[u8]| {
        let (stat, wanted) = (known.stat_path(path).ok()?, diag.file?);
        let here = in_root(&known.pod.root(), path);
        let is_it = kernel_name::is(&here, (stat.st_dev, stat.st_ino), &wanted.into());
        is_it.then_some(stat.st_mode & 0o7777)
    };
    if let Some(mode) = mode(path) {
        return Ok(Some(Name { mode: Some(mode), renamed: None, bytes }));
    }
    // Programs bind to one name and rename it to the one that others know, in the same folder.
    let renamed = beside(path, known).into_iter().find_map(|other| Some((mode(&other)?, other)));
    let (mode, renamed) = renamed.unzip();
    Ok(Some(Name { mode, renamed, bytes }))
}

/// The sockets in the folder of this path.
fn beside(path: &[u8], known: &Known<'_>) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileTypeExt;
    let folder = &path[..path.iter().rposition(|&b| b == b'/').unwrap_or(0)];
    let entries = std::fs::read_dir(in_root(&known.pod.root(), folder));
    let entries = entries.into_iter().flatten().flatten();
    let sockets = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_socket()));
    sockets.map(|e| [folder, b"/", e.file_name().as_bytes()].concat()).collect()
}

/// The path of a name that is one.
pub(super) fn path_of(name: &[u8]) -> Option<&[u8]> {
    let path = name.split(|&b| b == 0).next()?;
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
        socketpair, sockopt,
    };
    use roam_sys::batch::Batch;
    use std::io::{IoSlice, Write};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, kind, None, SockFlag::empty()).unwrap()
    }

    fn send(fd: &OwnedFd, bytes: &[u8]) {
        assert_eq!(roam_sys::descriptor::write(fd.as_fd(), bytes).unwrap(), bytes.len());
    }

    /// Receives in the new process: bytes, and the numbers of descriptors that came along.
    fn receive(session: &mut Session, number: i32, most: usize) -> (Vec<u8>, Vec<i32>) {
        let mut batch = Batch::new();
        let room = batch.room(most);
        let control = batch.room(64);
        let iov = batch.room(16);
        batch.pointer(iov, 0, room);
        batch.set_u64(iov, 8, most as u64);
        let header = batch.room(56);
        batch.pointer(header, 16, iov);
        batch.set_u64(header, 24, 1);
        batch.pointer(header, 32, control);
        batch.set_u64(header, 40, 64);
        let n = batch.must("recvmsg", libc::SYS_recvmsg, &[number.into(), header.into(), 0u32.into()]);
        let done = session.run(0, &batch);
        let control = done.bytes(control);
        let len = u64::from_ne_bytes(control[..8].try_into().unwrap()) as usize;
        let files = control[16..len.max(16)].chunks(4).map(|c| i32::from_ne_bytes(c.try_into().unwrap()));
        (done.bytes(room)[..done.ret(n) as usize].to_vec(), files.collect())
    }

    #[test]
    fn a_stream_keeps_what_was_not_read() {
        let (a, b) = pair(SockType::Stream);
        let long: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
        send(&a, &long);
        send(&b, b"back");
        let mut session = Session::of(&[a.as_fd(), b.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(1, 60_000), &long[..60_000]);
        assert_eq!(session.read(1, 60_000), &long[60_000..]);
        assert_eq!(session.read(0, 9), b"back");
        session.write(0, b"goes on");
        assert_eq!(session.read(1, 9), b"goes on");
    }

    #[test]
    fn messages_keep_their_borders() {
        for kind in [SockType::Datagram, SockType::SeqPacket] {
            let (a, b) = pair(kind);
            for message in [&b"one"[..], b"three", b"2"] {
                send(&a, message);
            }
            let mut session = Session::of(&[a.as_fd(), b.as_fd()]);
            session.round_trip();
            for message in [&b"one"[..], b"three", b"2"] {
                assert_eq!(session.read(1, 100), message, "{kind:?}");
            }
        }
    }

    #[test]
    fn descriptors_in_flight_arrive_with_their_byte() {
        let (a, b) = pair(SockType::Stream);
        let (read, write) = nix::unistd::pipe().unwrap();
        let (inner_a, inner_b) = pair(SockType::Stream);
        send(&inner_a, b"inside");
        send(&a, b"plain");
        let flying = [read.as_raw_fd(), inner_b.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&flying)];
        sendmsg::<UnixAddr>(a.as_raw_fd(), &[IoSlice::new(b"with")], &rights, MsgFlags::empty(), None)
            .unwrap();
        send(&a, b"after");
        drop((read, inner_b));
        send(&write, b"piped");
        let mut session = Session::of(&[a.as_fd(), b.as_fd(), write.as_fd(), inner_a.as_fd()]);
        session.round_trip();
        assert_eq!(receive(&mut session, 1, 5), (b"plain".to_vec(), vec![]));
        let (bytes, files) = receive(&mut session, 1, 4);
        assert_eq!((&bytes[..], files.len()), (&b"with"[..], 2));
        assert_eq!(session.read(files[0], 10), b"piped");
        assert_eq!(session.read(files[1], 10), b"inside");
        assert_eq!(session.read(1, 10), b"after");
    }

    #[test]
    fn half_closed_and_closed_ones_stay_so() {
        let (a, b) = pair(SockType::Stream);
        send(&a, b"last words");
        nix::sys::socket::shutdown(a.as_raw_fd(), nix::sys::socket::Shutdown::Write).unwrap();
        let (c, d) = pair(SockType::Stream);
        send(&d, b"gone");
        drop(d);
        let mut session = Session::of(&[a.as_fd(), b.as_fd(), c.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(1, 20), b"last words");
        assert_eq!(session.read(1, 20), b"");
        session.write(1, b"reply");
        assert_eq!(session.read(0, 20), b"reply");
        assert_eq!(session.read(2, 20), b"gone");
        assert_eq!(session.read(2, 20), b"");
    }

    #[test]
    fn names_connections_and_those_that_wait_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        let files = [server.as_fd(), client.as_fd(), listener.as_fd(), waiting.as_fd()];
        let mut session = Session::of(&files);
        session.round_trip();
        assert_eq!(session.read(0, 9), b"hello");
        // Who waited is accepted, and whoever comes new, by the path.
        let mut new = UnixStream::connect(&path).unwrap();
        new.write_all(b"new").unwrap();
        let mut batch = Batch::new();
        let first =
            batch.must("accept", libc::SYS_accept4, &[2u32.into(), 0u32.into(), 0u32.into(), 0u32.into()]);
        let second =
            batch.must("accept", libc::SYS_accept4, &[2u32.into(), 0u32.into(), 0u32.into(), 0u32.into()]);
        let done = session.run(0, &batch);
        session.write(3, b"waited");
        assert_eq!(session.read(done.ret(first) as i32, 9), b"waited");
        assert_eq!(session.read(done.ret(second) as i32, 9), b"new");
    }

    #[test]
    fn a_connection_whose_listener_is_gone_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let mut session = Session::of(&[client.as_fd(), server.as_fd()]);
        session.round_trip();
        session.write(0, b"x");
        assert_eq!(session.read(1, 2), b"x");
        assert!(!path.exists());
    }

    #[test]
    fn named_datagrams_know_their_sender() {
        let dir = tempfile::tempdir().unwrap();
        let [server_path, client_path] = ["server", "client"].map(|n| dir.path().join(n));
        let server = UnixDatagram::bind(&server_path).unwrap();
        let client = UnixDatagram::bind(&client_path).unwrap();
        client.connect(&server_path).unwrap();
        client.send(b"named").unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"nameless", &server_path).unwrap();
        let mut session = Session::of(&[server.as_fd(), client.as_fd()]);
        session.round_trip();
        session.write(1, b"more");
        for message in [&b"named"[..], b"nameless", b"more"] {
            assert_eq!(session.read(0, 20), message);
        }
    }

    #[test]
    fn options_and_credentials_come_back() {
        let (a, b) = pair(SockType::Stream);
        setsockopt(&b, sockopt::PassCred, &true).unwrap();
        setsockopt(&b, sockopt::SndBuf, &30_000).unwrap();
        send(&a, b"signed");
        let mut session = Session::of(&[a.as_fd(), b.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(1, 10), b"signed");
    }

    #[test]
    fn the_other_side_outside_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outside");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let _server = listener.accept().unwrap();
        let refusals = Session::refusals(&[client.as_fd()]);
        let text = refusals[0].to_string();
        assert!(text.contains("outside the session at") && text.contains("/outside"), "{text}");
    }
}
