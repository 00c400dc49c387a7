//! Connections that wait to be accepted and have sent something, or are closed already.
//!
//! Only who accepts them can read that. So they are accepted here, read, broken off and asked for again, each from
//! the address that it had and in the order in which they waited, with what they had sent: before the
//! capture goes on, the program's listener is as it was. The client's socket stays the same one; for a client that is
//! gone, the accepted socket itself asks. Clients have received nothing yet, so nothing else can be lost.
//!
//! Refused, for a moment only: more than the kernel's usual buffers take for certain; and what was broken off.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use roam_sys::{descriptor, socket, tcp_repair};

use super::descriptors::OpenFile;
use super::gather::Known;
use super::inet::{Address, Sharing};
use super::open_file::{FileId, Kind, Look, Stop};
use super::tcp::{CLOSE_WAIT, ESTABLISHED, Info, Link, SYN_RECV, Waiter, With, pieces};
use crate::error::{Error, TRY_AGAIN};

/// What a connection may have sent, in bytes.
const MOST: usize = 32 << 10;
/// How long the kernel may take to deliver that inside the pod, or to open a connection there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Those who wait at a listener, as far as the kernel shows them.
pub(super) struct Found {
    /// In the order in which the clients' sockets were made, without what they have sent.
    pub waiting: Vec<Waiter>,
    /// Those that believe to be connected and are not let in yet.
    pub deferred: Vec<Waiter>,
    /// Some of those that wait must be looked at.
    pub hidden: bool,
}

/// Those who wait at the listener with this address.
///
/// # Errors
/// A refusal of what could not be put back for certain.
pub(super) fn find(look: &Look, listening: Address, info: &Info, known: &Known<'_>) -> Result<Found, Stop> {
    let table = known.tcp()?;
    let (ip, port) = listening.plain();
    let (mut found, mut deferred) = (Vec::new(), Vec::new());
    let mut hidden = false;
    for entry in &table.sockets {
        let (asked, own) = (Address(entry.own), Address(entry.peer));
        let (own_ip, own_port) = asked.plain();
        // Two may listen at one port, one for each family; who waits is of the listener's.
        let same = listening.0.is_ipv4() == asked.0.is_ipv4();
        // What is not let in yet is of its own family, also where one listens for both.
        let both = entry.state == SYN_RECV && asked.0.is_ipv4() && Sharing::of(look).v6_only == 0;
        let mine = (same || both) && own_port == port && (ip.is_unspecified() || ip == own_ip);
        if !mine || entry.inode != 0 || ![ESTABLISHED, SYN_RECV, CLOSE_WAIT].contains(&entry.state) {
            continue;
        }
        let client = table.peer(asked, own);
        let waiter = Waiter { client, own, asked, sent: Vec::new(), urgent: None };
        let sent = entry.unread - u32::from(entry.state == CLOSE_WAIT && entry.unread > 0);
        let look = client.map(|id| known.look(id));
        let under_way = look.as_ref().map_or(Ok(0), |look| socket::unsent(look.file.as_fd()));
        let under_way = under_way.map_err(|e| Error::system("looking at a TCP socket", e))?;
        if entry.state == SYN_RECV {
            // It may not be accepted before it sends something (TCP_DEFER_ACCEPT), or there is no room yet.
            match client {
                Some(_) if under_way > 0 => {
                    return Err(Stop::cannot("what a connection has sent is still under way", TRY_AGAIN));
                }
                Some(_) if !is_opening(look.as_deref())? => deferred.push(waiter),
                _ => {}
            }
            continue;
        }
        hidden |= client.is_none() || sent > 0 || under_way > 0;
        if sent as usize + under_way > MOST {
            let reason = format!("the connection of {own} has much data and is not accepted yet");
            return Err(Stop::cannot(reason, TRY_AGAIN));
        }
        let made = look.map(|look| look.stat.st_ino);
        found.push((made, waiter));
    }
    if found.len() != info.waiting as usize {
        let reason = "a connection waits to be accepted that was broken off";
        return Err(Stop::cannot(reason, TRY_AGAIN));
    }
    found.sort_by_key(|(made, _)| *made);
    Ok(Found { waiting: found.into_iter().map(|(_, waiter)| waiter).collect(), deferred, hidden })
}

/// Those that wait at a listener which does not have them: the kernel's lists were not of one moment.
pub(super) fn strays(files: &[OpenFile]) -> Vec<FileId> {
    let (mut waiting, mut at_listeners) = (Vec::new(), Vec::new());
    for (index, file) in files.iter().enumerate() {
        let Kind::Tcp(tcp) = &file.kind else { continue };
        match &tcp.link {
            Link::Connected { with: With::Listener, .. } => waiting.push(FileId(index as u32)),
            Link::Listening { waiting, .. } => at_listeners.extend(waiting.iter().filter_map(|w| w.client)),
            _ => {}
        }
    }
    waiting.retain(|client| !at_listeners.contains(client));
    waiting
}

fn is_opening(client: Option<&Look>) -> Result<bool, Error> {
    let info = client.map_or(Ok(true), |look| Info::of(look.file.as_fd()).map(|info| info.is_opening()));
    info.map_err(|e| Error::system("looking at a TCP socket", e))
}

/// Looks at what they have sent, and in which order they wait. The session is frozen; everything is as before then.
///
/// # Errors
/// A refusal, or what could not be put back.
pub(super) fn look(
    listener: &Look,
    backlog: i32,
    found: Vec<Waiter>,
    known: &Known<'_>,
) -> Result<Vec<Waiter>, Stop> {
    let clients: Vec<_> = found.iter().filter_map(|w| w.client).map(|id| known.look(id)).collect();
    let deadline = Instant::now() + PATIENCE;
    for client in &clients {
        while socket::unsent(client.file.as_fd()).is_ok_and(|n| n > 0) {
            if Instant::now() > deadline {
                return Err(Stop::cannot("what a connection has sent is still under way", TRY_AGAIN));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    let failed = |e| Error::system("looking at connections that wait to be accepted", e);
    let mut taken = Vec::with_capacity(found.len());
    let mut result = Ok(());
    // Nobody may come in between whom the kernel lets try again: there is room for all.
    result = result.and(socket::listen(listener.file.as_fd(), i32::MAX));
    while result.is_ok() && taken.len() < found.len() {
        match socket::accept(listener.file.as_fd()) {
            Ok(Some(file)) => taken.push(file),
            Ok(None) => break,
            Err(e) => result = Err(e),
        }
    }
    let mut waiting = Vec::with_capacity(taken.len());
    for file in &taken {
        match read(file.as_fd(), known) {
            Ok(waiter) => waiting.push((waiter, file)),
            Err(e) => result = result.and(Err(e)),
        }
    }
    for (waiter, file) in &waiting {
        let client = waiter.client.map(|id| known.look(id));
        let back = put_back(waiter, file, client.as_deref());
        result = result.and(back);
    }
    result = result.and(socket::listen(listener.file.as_fd(), backlog));
    result.map_err(failed)?;
    Ok(waiting.into_iter().map(|(waiter, _)| waiter).collect())
}

/// Reads an accepted connection to its end.
fn read(file: BorrowedFd<'_>, known: &Known<'_>) -> io::Result<Waiter> {
    let address = |name: Vec<u8>| Address::of(&name).ok_or(io::ErrorKind::InvalidData);
    let own = address(socket::peer_name(file)?)?;
    let asked = address(socket::own_name(file)?)?;
    let table = known.tcp().map_err(io::Error::other)?;
    let mut waiter = Waiter { client: table.peer(asked, own), own, asked, sent: Vec::new(), urgent: None };
    // Reading stops where the urgent byte is, and goes on with it.
    socket::set_option(file, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
    let mut room = vec![0; MOST];
    loop {
        if socket::at_mark(file)? {
            waiter.urgent = u32::try_from(waiter.sent.len()).ok();
        }
        match descriptor::read(file, &mut room) {
            Ok(0) => return Ok(waiter),
            Ok(n) => waiter.sent.extend(&room[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(waiter),
            Err(e) => return Err(e),
        }
    }
}

/// Has the client, or the accepted socket in its place, ask again and send the same.
fn put_back(waiter: &Waiter, accepted: &OwnedFd, client: Option<&Look>) -> io::Result<()> {
    let accepted = accepted.as_fd();
    let Some(client) = client else {
        socket::disconnect(accepted)?;
        ask_again(accepted, &waiter.own.bytes(), &waiter.asked.bytes(), waiter)?;
        return socket::shut(accepted, libc::SHUT_WR);
    };
    let fd = client.file.as_fd();
    // As the client's own family writes them.
    let (own, asked) = (socket::own_name(fd)?, socket::peer_name(fd)?);
    let info = Info::of(fd)?;
    let reads_no_more = info.reads_no_more(fd);
    let flags = descriptor::fcntl(fd, libc::F_GETFL, 0)?;
    socket::disconnect(accepted)?;
    socket::disconnect(fd)?;
    descriptor::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)?;
    let asked = ask_again(fd, &own, &asked, waiter);
    descriptor::fcntl(fd, libc::F_SETFL, flags)?;
    asked?;
    for (how, wanted) in [(libc::SHUT_RD, reads_no_more), (libc::SHUT_WR, info.has_ended())] {
        if wanted {
            socket::shut(fd, how)?;
        }
    }
    Ok(())
}

fn ask_again(fd: BorrowedFd<'_>, own: &[u8], asked: &[u8], waiter: &Waiter) -> io::Result<()> {
    // That it was broken off is nobody's business.
    socket::option(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
    match socket::bind(fd, own).map_err(|e| (e.raw_os_error(), e)) {
        // The program bound it itself: it has kept its port.
        Err((Some(libc::EINVAL), _)) => {}
        // The kernel gives one port to several that ask different listeners; and a client that is gone may not
        // have heard yet that it was broken off.
        Err((Some(libc::EADDRINUSE), _)) => tcp_repair::bind_beside_others(fd, own)?,
        other => other.map_err(|(_, e)| e)?,
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        match socket::connect(fd, asked).map_err(|e| (e.raw_os_error(), e)) {
            Err((Some(libc::EINPROGRESS), _)) => await_open(fd)?,
            // As above.
            Err((Some(libc::EADDRNOTAVAIL), _)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            other => other.map_err(|(_, e)| e)?,
        }
        break;
    }
    for (bytes, flags) in pieces(&waiter.sent, waiter.urgent) {
        socket::send_all(fd, bytes, flags)?;
    }
    Ok(())
}

fn await_open(fd: BorrowedFd<'_>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Info::of(fd)?.is_opening() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    match socket::option(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tcp::State;
    use super::super::testing::Session;
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn what_was_sent_before_it_was_accepted_is_there_and_known() {
        for any in ["127.83.0.3:0", "[::ffff:127.83.0.4]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let address = listener.local_addr().unwrap();
            let mut waiting = TcpStream::connect(address).unwrap();
            let first = waiting.local_addr().unwrap();
            waiting.write_all(b"first").unwrap();
            let gone = {
                let mut gone = TcpStream::connect(address).unwrap();
                gone.write_all(b"last words").unwrap();
                gone.local_addr().unwrap()
            };
            let session = Session::of(&[listener.as_fd(), waiting.as_fd()]);
            // The source has all as before.
            let mut accepted = listener.accept().unwrap();
            assert_eq!((accepted.1, waiting.local_addr().unwrap()), (first, first));
            let mut text = [0; 5];
            accepted.0.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"first");
            accepted.0.write_all(b"hello").unwrap();
            waiting.read_exact(&mut text).unwrap();
            let (mut last, from) = listener.accept().unwrap();
            assert_eq!(from, gone);
            let mut words = String::new();
            last.read_to_string(&mut words).unwrap();
            assert_eq!(words, "last words");
            let Kind::Tcp(State { link: Link::Listening { waiting, .. }, .. }) =
                &session.image().files[0].kind
            else {
                panic!("it is {:?}", session.image().files[0].kind);
            };
            let seen: Vec<_> = waiting.iter().map(|w| (w.client.is_some(), w.own, &w.sent[..])).collect();
            let expected = [(true, Address(first), &b"first"[..]), (false, Address(gone), b"last words")];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn only_one_byte_is_urgent() {
        let all = |urgent| pieces(b"abc", urgent).collect::<Vec<_>>();
        assert_eq!(all(None), [(&b"abc"[..], 0)]);
        assert_eq!(all(Some(0)), [(&b"a"[..], libc::MSG_OOB), (b"bc", 0)]);
        assert_eq!(all(Some(1)), [(&b"a"[..], 0), (b"b", libc::MSG_OOB), (b"c", 0)]);
        assert_eq!(all(Some(2)), [(&b"ab"[..], 0), (b"c", libc::MSG_OOB)]);
        assert_eq!(all(Some(9)), [(&b"abc"[..], 0)]);
    }
}
