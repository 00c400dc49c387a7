//! Connections of unix sockets that wait to be accepted and have sent something, or are closed already.
//!
//! Only who accepts them can read that. So each asks once more, from the process that holds it, behind all who wait;
//! then those in front are accepted here and read, the new ones send the same, and take the numbers and the
//! places in epolls that the old ones had. Before the capture goes on, the listener is as it was. In the place of a
//! client that is gone a helper asks.
//!
//! Refused, for a moment only, is whatever could not be put back for certain: descriptors in flight to the listener, a
//! client that is in flight itself, has a name, reads no more, has signals sent or is disarmed in an epoll, one that a program with
//! filters of its own holds, much data, a queue in which not twice as many fit, a listener whose file is gone.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use roam_sys::batch::{Arg, Batch, Done, RetOf};
use roam_sys::limits::{self, Raised};
use roam_sys::procfs::status;
use roam_sys::unix_diag::UnixSocket;
use roam_sys::{descriptor, fdpass, socket};
use serde::{Deserialize, Serialize};

use super::descriptors::Holder;
use super::gather::Known;
use super::helper::Helper;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::unix::{self, Message, OPTIONS, SO_PEEK_OFF};
use super::{epoll, epoll_entries, filters, socket_options, unix_queue};
use crate::error::{Error, TRY_AGAIN};

/// What a connection may have in flight, in bytes of the kernel's own count.
const MOST: u32 = 64 << 10;

/// Somebody who waits to be accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Its socket; none if that was closed since.
    pub client: Option<FileId>,
    /// The process that SO_PEERCRED will name, if it lives.
    pub credentials: Option<i32>,
    /// What it has sent.
    pub sent: Vec<Message>,
}

/// What was found of those who wait at listeners, by the listeners' inodes. The clients are not told here: their
/// sockets are other ones since.
pub type Taken = HashMap<u64, Vec<Waiter>>;

/// Makes calls in the processes of a frozen session, as if they made them.
pub trait Hands {
    /// Runs a batch in the process with this pod pid.
    ///
    /// # Errors
    /// A call that had to succeed and did not.
    fn run(&self, pid: i32, batch: &Batch) -> Result<Done, Error>;
}

/// How one who waits is made to ask once more.
struct Client {
    file: Rc<Look>,
    /// Who holds it: process, and numbers with their close-on-exec; the first asks.
    holders: Vec<(usize, Vec<(i32, bool)>)>,
    epolls: Vec<InEpoll>,
    /// It sends no more.
    ended: bool,
}

impl Client {
    /// The process that asks.
    fn maker<'a>(&self, known: &Known<'a>) -> &'a Holder {
        &known.holders[self.holders[0].0]
    }
}

/// An epoll that waits for a client.
struct InEpoll {
    /// The process that can change it.
    holder: usize,
    /// The epoll's number there.
    epoll: i32,
    entry: epoll::Entry,
}

/// Those who wait at a listener; none if nothing of them is hidden.
///
/// # Errors
/// A refusal of what could not be put back for certain.
fn plan(look: &Look, diag: &UnixSocket, known: &Known<'_>) -> Result<Option<Vec<Option<Client>>>, Stop> {
    let cannot = |why: &str| {
        Err(Stop::cannot(format!("a connection that is not accepted yet has data, and {why}"), TRY_AGAIN))
    };
    let sockets = known.unix_sockets()?;
    let silent = |inode: &u64| sockets.get(inode).is_some_and(|client| client.outgoing == 0);
    if diag.waiting.len() == diag.incoming as usize && diag.waiting.iter().all(silent) {
        return Ok(None);
    }
    if look.info.decimal("scm_fds") != Some(0) {
        return cannot("descriptors are in flight to it");
    }
    if 2 * diag.incoming > diag.outgoing + 1 || diag.waiting.len() != diag.incoming as usize {
        return cannot("the queue of its listener is too short to keep its place");
    }
    if !unix::can_be_reached(look, diag, known)? {
        return cannot("its listener can't be reached by its name any more");
    }
    if known.net_of(look)? != 0 {
        return cannot("its listener is in a network that a program made");
    }
    let mut clients = Vec::new();
    for inode in &diag.waiting {
        if *inode == 0 {
            clients.push(None);
            continue;
        }
        let found = known.of_inode((look.stat.st_dev, *inode)).first();
        let Some((&id, socket)) = found.zip(sockets.get(inode)) else {
            return cannot("it is itself in flight to another program");
        };
        let file = known.look(id);
        let fd = file.file.as_fd();
        let named = socket::own_name(fd).is_ok_and(|name| name.len() > 2);
        let holders = holders_of(id, known);
        if file.in_flight || holders.is_empty() {
            return cannot("it is itself in flight to another program");
        }
        if socket.outgoing > MOST {
            return cannot("that is much");
        }
        if socket_options::filter(&file)?.is_some() {
            return cannot("it has a packet filter");
        }
        if named || socket.shutdown & 1 != 0 || file.info.flags & libc::O_ASYNC != 0 {
            return cannot("it has a name, reads no more or has signals sent");
        }
        let init =
            status::read(known.pod.init().as_raw()).map_err(|e| Error::system("looking at the pod", e))?;
        if let Some(why) = holders.iter().find_map(|(holder, _)| hinders(*holder, diag.waiting.len(), known))
        {
            return cannot(why);
        }
        let walled = |&(holder, _): &(usize, _)| {
            let host = known.holders[holder].host.as_raw();
            status::read(host).is_ok_and(|status| filters::has_own(&status, &init))
        };
        if holders.iter().any(walled) {
            return cannot("its program has a filter of system calls");
        }
        let Some(epolls) = epolls_of(id, known)? else {
            return cannot("an epoll waits for it by a number that it no longer has");
        };
        // Another socket in its place would tell of hang-ups again.
        if epolls.iter().any(|place| epoll_entries::is_disarmed(place.entry.events)) {
            return cannot("a thread deals with what an epoll told it of that socket");
        }
        clients.push(Some(Client { file, holders, epolls, ended: socket.shutdown & 2 != 0 }));
    }
    Ok(Some(clients))
}

/// What keeps a process from asking again, or from getting the new sockets.
fn hinders(holder: usize, clients: usize, known: &Known<'_>) -> Option<&'static str> {
    let host = known.holders[holder].host.as_raw();
    // Names mean there what they mean in the pod.
    let init = known.pod.init().as_raw();
    let same = |what: &str| {
        let [one, other] = [host, init].map(|pid| std::fs::metadata(format!("/proc/{pid}/{what}")));
        one.and_then(|one| other.map(|other| (one.dev(), one.ino()) == (other.dev(), other.ino())))
            .unwrap_or(false)
    };
    if !["ns/mnt", "ns/net", "root"].into_iter().all(same) {
        return Some("its program sees other files or networks than the session");
    }
    // Some more for what is on the way.
    let needed = (known.tables[holder].len() + clients + 4) as u64;
    match limits::get(host, libc::RLIMIT_NOFILE) {
        Ok((_, most)) if needed <= most => None,
        _ => Some("its program has no descriptors left"),
    }
}

/// Says what of those who wait could not be carried.
///
/// # Errors
/// A refusal.
pub(super) fn check(look: &Look, diag: &UnixSocket, known: &Known<'_>) -> Result<(), Stop> {
    match plan(look, diag, known)? {
        Some(_) if known.is_still() => {
            Err(Stop::cannot("connections that wait at it were not looked at", TRY_AGAIN))
        }
        _ => Ok(()),
    }
}

fn holders_of(id: FileId, known: &Known<'_>) -> Vec<(usize, Vec<(i32, bool)>)> {
    let numbers = |table: &Vec<super::gather::Entry>| -> Vec<(i32, bool)> {
        table.iter().filter(|e| e.file == id).map(|e| (e.number, e.cloexec)).collect()
    };
    let tables = known.tables.iter().map(numbers).enumerate();
    tables.filter(|(_, numbers)| !numbers.is_empty()).collect()
}

/// The epolls that wait for it; none if one can't be changed.
fn epolls_of(id: FileId, known: &Known<'_>) -> Result<Option<Vec<InEpoll>>, Stop> {
    let mut all = Vec::new();
    for (index, look) in known.looks.iter().enumerate() {
        if !epoll::State::matches(look) {
            continue;
        }
        for entry in epoll::entries(look, known)?.into_iter().filter(|entry| entry.file == id) {
            let place = known.tables.iter().enumerate().find_map(|(holder, table)| {
                table.iter().find(|e| e.file == id && e.number == entry.number)?;
                let epoll = table.iter().find(|e| e.file.0 as usize == index)?.number;
                Some((holder, epoll))
            });
            let Some((holder, epoll)) = place else { return Ok(None) };
            all.push(InEpoll { holder, epoll, entry });
        }
    }
    Ok(Some(all))
}

/// Looks at all who wait and can't be seen otherwise. The session is frozen; afterwards all is as before, but
/// the clients' sockets are new ones, so the descriptors must be gathered again if anything was found.
///
/// # Errors
/// What could not be put back. What is refused is left to the check of each listener.
pub(super) fn look_all(known: &Known<'_>, hands: &dyn Hands) -> Result<Taken, Error> {
    let mut plans = Vec::new();
    for look in known.looks.iter().filter(|look| unix::is_unix(look)) {
        let failed = |stop| match stop {
            Stop::Cannot { .. } => None,
            Stop::Failed(e) => Some(e),
        };
        let diag = match unix::diag(look, known) {
            Ok(diag) if diag.state == roam_sys::unix_diag::LISTEN => diag,
            Ok(_) => continue,
            Err(stop) => match failed(stop) {
                Some(e) => return Err(e),
                None => continue,
            },
        };
        match plan(look, &diag, known) {
            Ok(Some(clients)) => plans.push((look, clients)),
            Ok(None) => {}
            Err(stop) => failed(stop).map_or(Ok(()), Err)?,
        }
    }
    let look_at =
        |(look, clients): (&Rc<Look>, Vec<_>)| Ok((look.stat.st_ino, look_at(look, &clients, known, hands)?));
    plans.into_iter().map(look_at).collect()
}

fn look_at(
    listener: &Look,
    clients: &[Option<Client>],
    known: &Known<'_>,
    hands: &dyn Hands,
) -> Result<Vec<Waiter>, Error> {
    const DOING: &str = "looking at connections that wait to be accepted";
    let failed = |e| Error::system(DOING, e);
    let kind = socket::option(listener.file.as_fd(), libc::SOL_SOCKET, libc::SO_TYPE).map_err(failed)?;
    let name = socket::own_name(listener.file.as_fd()).map_err(failed)?;
    let involved = clients.iter().flatten().flat_map(|client| &client.holders);
    let hosts = involved.map(|(holder, _)| known.holders[*holder].host.as_raw());
    let _raised: Vec<Raised> = hosts.map(|host| Raised::take(host, &[libc::RLIMIT_NOFILE])).collect();

    // Behind those who wait already, in their order.
    let mut ask = Batch::new();
    let args = [libc::AF_UNIX.into(), (kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).into(), 0u32.into()];
    let new = ask.must("socket", libc::SYS_socket, &args);
    let address = ask.data(&name);
    let args = [new.into(), address.into(), name.len().into()];
    ask.must("connecting a unix socket anew", libc::SYS_connect, &args);
    let most = ask.data(&i32::MAX.to_ne_bytes());
    let args = [new.into(), libc::SOL_SOCKET.into(), libc::SO_SNDBUF.into(), most.into(), 4u32.into()];
    ask.must("setting a socket option", libc::SYS_setsockopt, &args);
    let mut helper = match clients.iter().any(Option::is_none) {
        true => Some(Helper::start(known.pod)?),
        false => None,
    };
    let mut numbers = Vec::with_capacity(clients.len());
    for client in clients {
        let asked = match (client, &mut helper) {
            (Some(client), _) => hands.run(client.maker(known).pid, &ask)?,
            (None, Some(helper)) => helper.run(&ask)?,
            (None, None) => continue,
        };
        numbers.push(asked.ret(new) as i32);
    }
    let mut waiting = Vec::with_capacity(clients.len());
    for (client, number) in clients.iter().zip(numbers) {
        let accepted = socket::accept(listener.file.as_fd()).map_err(failed)?;
        let accepted = accepted.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let sent = read(accepted.as_fd(), kind).map_err(failed)?;
        let credentials = socket::peer_pid(accepted.as_fd()).map_err(failed)?;
        match (client, &mut helper) {
            (Some(client), _) => {
                let maker = client.maker(known);
                let (batch, lengths) = send(&sent, number);
                whole(&hands.run(maker.pid, &batch)?, &lengths).map_err(failed)?;
                let new = descriptor::pidfd_getfd(maker.pidfd.as_fd(), number).map_err(failed)?;
                make_alike(client, new.as_fd()).map_err(failed)?;
                exchange(client, number, (&new, &accepted), known, hands)?;
            }
            // Its sockets are closed when it ends.
            (None, Some(helper)) => {
                let (batch, lengths) = send(&sent, number);
                whole(&helper.run(&batch)?, &lengths).map_err(failed)?;
            }
            (None, None) => {}
        }
        waiting.push(Waiter { client: None, credentials: known.pod_pid(credentials), sent });
    }
    Ok(waiting)
}

/// All that has arrived through an accepted connection.
fn read(accepted: BorrowedFd<'_>, kind: i32) -> io::Result<Vec<Message>> {
    if kind != libc::SOCK_STREAM {
        let queue = unix_queue::peek_queue(accepted)?;
        let message = |bytes| Message { bytes, files: Vec::new(), credentials: None, from: Vec::new() };
        return Ok(queue.into_iter().map(|peeked| message(peeked.bytes)).collect());
    }
    // Older kernels do not know it, nor urgent data.
    let _ = socket::set_option(accepted, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1);
    let mut all = Vec::new();
    let mut room = vec![0; MOST as usize];
    loop {
        match descriptor::read(accepted, &mut room) {
            Ok(0) => break,
            Ok(n) => all.extend(&room[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    let piece = |bytes: &[u8]| Message {
        bytes: bytes.to_vec(),
        files: Vec::new(),
        credentials: None,
        from: Vec::new(),
    };
    Ok(all.chunks(super::build::PIECE).map(piece).collect())
}

/// Sends them; each is to be as long as it was.
fn send(messages: &[Message], number: i32) -> (Batch, Vec<(RetOf, usize)>) {
    let mut batch = Batch::new();
    let mut lengths = Vec::with_capacity(messages.len());
    for message in messages {
        let data = batch.data(&message.bytes);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let length = message.bytes.len();
        let args = [number.into(), data.into(), length.into(), flags.into(), 0u32.into(), 0u32.into()];
        lengths.push((batch.must("sending what was not read", libc::SYS_sendto, &args), length));
    }
    (batch, lengths)
}

fn whole(done: &Done, lengths: &[(RetOf, usize)]) -> io::Result<()> {
    let all = lengths.iter().all(|&(ret, length)| done.ret(ret) == length as i64);
    if all { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Options, flags and ends of the old socket for the new one.
fn make_alike(client: &Client, new: BorrowedFd<'_>) -> io::Result<()> {
    let old = client.file.file.as_fd();
    for (option, length, _) in OPTIONS {
        let Ok(mut value) = socket::option_bytes(old, libc::SOL_SOCKET, option, length) else { continue };
        if value == socket::option_bytes(new, libc::SOL_SOCKET, option, length)? {
            continue;
        }
        if [libc::SO_SNDBUF, libc::SO_RCVBUF].contains(&option) {
            // The kernel doubles what it is told.
            let size = value.first_chunk().map_or(0, |size| i32::from_ne_bytes(*size));
            value = (size / 2).to_ne_bytes().to_vec();
        }
        socket::set_option_bytes(new, libc::SOL_SOCKET, option, &value)?;
    }
    debug_assert!(OPTIONS.iter().any(|(option, ..)| *option == SO_PEEK_OFF));
    descriptor::fcntl(new, libc::F_SETFL, client.file.info.flags & libc::O_NONBLOCK)?;
    if client.ended { socket::shut(new, libc::SHUT_WR) } else { Ok(()) }
}

/// Gives the new socket the numbers of the old one, and its places in epolls. It goes to each process through the old
/// connection, in which nothing else comes to it.
fn exchange(
    client: &Client,
    made_as: i32,
    (new, accepted): (&OwnedFd, &OwnedFd),
    known: &Known<'_>,
    hands: &dyn Hands,
) -> Result<(), Error> {
    for (index, numbers) in &client.holders {
        let pid = known.holders[*index].pid;
        let sent = fdpass::send(accepted.as_fd(), b"x", &[new.as_fd()]);
        sent.map_err(|e| Error::system("bringing a new socket to its process", e))?;
        let mut batch = Batch::new();
        let came = receive(&mut batch, numbers[0].0);
        let epolls: Vec<&InEpoll> = client.epolls.iter().filter(|e| e.holder == *index).collect();
        for InEpoll { epoll, entry, .. } in &epolls {
            let args = [(*epoll).into(), libc::EPOLL_CTL_DEL.into(), entry.number.into(), 0u32.into()];
            batch.must("taking a socket from an epoll", libc::SYS_epoll_ctl, &args);
        }
        for (number, cloexec) in numbers {
            let flags = if *cloexec { libc::O_CLOEXEC } else { 0 };
            batch.must("placing a descriptor", libc::SYS_dup3, &[came, (*number).into(), flags.into()]);
        }
        for InEpoll { epoll, entry, .. } in &epolls {
            let event = [&entry.events.to_ne_bytes()[..], &entry.data.to_ne_bytes()].concat();
            let event = batch.data(&event);
            let args = [(*epoll).into(), libc::EPOLL_CTL_ADD.into(), entry.number.into(), event.into()];
            batch.must("adding to an epoll", libc::SYS_epoll_ctl, &args);
        }
        batch.must("closing", libc::SYS_close, &[came]);
        if pid == client.maker(known).pid {
            batch.must("closing", libc::SYS_close, &[made_as.into()]);
        }
        hands.run(pid, &batch)?;
    }
    Ok(())
}

/// recvmsg(2) of one descriptor: its number.
fn receive(batch: &mut Batch, number: i32) -> Arg {
    let byte = batch.room(8);
    let control = batch.room(24);
    let iov = batch.room(16);
    batch.pointer(iov, 0, byte);
    batch.set_u64(iov, 8, 1);
    let header = batch.room(56);
    batch.pointer(header, 16, iov);
    batch.set_u64(header, 24, 1);
    batch.pointer(header, 32, control);
    batch.set_u64(header, 40, 24);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    batch.must("receiving a new socket", libc::SYS_recvmsg, &[number.into(), header.into(), flags.into()]);
    Arg::Load32(control.skip(16))
}
