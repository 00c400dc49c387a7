//! UDP sockets inside the session: bound, connected, with datagrams that are not read yet.
//!
//! The datagrams are looked at with SO_PEEK_OFF and sent once more: by the socket that has the sender's address,
//! or by one that gets it for the moment. Groups that a socket joined can't be listed; each that the pod's
//! network has is asked for. That nobody was where a connected socket sent to, which the program has not been told, is
//! brought about once more. Refused: addresses of this machine; at the target, more datagrams than fit there;
//! and, for a moment only, other errors, and a datagram that is held back (UDP_CORK, MSG_MORE).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use roam_sys::batch::Batch;
use roam_sys::socket;
use serde::{Deserialize, Serialize};

use super::build::{Build, place};
use super::gather::{Capture, Known};
use super::inet::{self, Address, Sharing, set_integer};
use super::inet_options;
use super::open_file::{FileId, Kind, Look, OpenFileKind, Stop};
use super::socket_options::{self, Filter, SocketOption};
use super::tcp_build::connect_to_name_of;
use super::udp_queue::{self, Queue};
use super::unix::SO_PEEK_OFF;
use crate::error::{Error, TRY_AGAIN};

/// A UDP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// AF_INET or AF_INET6.
    pub domain: i32,
    /// What it is bound to.
    pub own: Option<Address>,
    /// Who else may have that address.
    pub sharing: Sharing,
    /// Whom it is connected with.
    pub peer: Option<Address>,
    /// What it has not read.
    pub queue: Vec<Datagram>,
    /// Nobody was where it sent to, and the program has not been told.
    pub refused: bool,
    /// The groups that it joined on the loop, with whom it hears there; nothing for everybody.
    pub groups: Vec<(IpAddr, Vec<u8>)>,
    /// Options.
    pub options: Vec<SocketOption>,
    /// A packet filter.
    pub filter: Option<Filter>,
}

/// A datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who sent it.
    pub from: Address,
    /// To which of the socket's addresses.
    pub to: Option<Address>,
}

/// The largest datagram.
const LARGEST: usize = 64 << 10;
const MOST: usize = 1 << 16;
/// How long the kernel may take to say that nobody is there, in milliseconds.
const PATIENCE: u32 = 10_000;
const LOOP: &[u8] = b"lo\0";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        inet::is_a(look, libc::SOCK_DGRAM, libc::IPPROTO_UDP)
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        inet::own_address(look)?;
        udp_queue::want_room(look, known);
        socket_options::filter(look)?;
        // Without the cork, what it sends is on its way for a moment only.
        if socket::option(look.file.as_fd(), libc::IPPROTO_UDP, libc::UDP_CORK).is_ok_and(|cork| cork != 0) {
            nothing_held_back(look)?;
        }
        refused(look).and(peer(look)).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let failed = |e| Error::system("looking at a UDP socket", e);
        let fd = look.file.as_fd();
        let domain = socket::option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN).map_err(failed)?;
        let refused = refused(look)?;
        nothing_held_back(look)?;
        let pod = at.known.pod.init();
        let known = roam_sys::multicast::groups_of(pod).map_err(failed)?;
        let mut groups = Vec::new();
        for group in known {
            let membership = roam_sys::multicast::membership(fd, group).map_err(failed)?;
            groups.extend(membership.map(|heard| (group, heard)));
        }
        Ok(Self {
            domain,
            own: inet::own_address(look)?,
            sharing: Sharing::of(look),
            peer: peer(look)?,
            // Looking would take the error.
            queue: if refused { Vec::new() } else { queue(fd, domain).map_err(failed)? },
            refused,
            groups,
            options: inet_options::options(look, false),
            filter: socket_options::filter(look)?,
        })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        if ![libc::AF_INET, libc::AF_INET6].contains(&self.domain) {
            return Err(damaged("its family"));
        }
        let slot = at.slot(id);
        new(self.domain, self.sharing, self.own, slot, at.batch(64)?);
        let early: Vec<_> = self.options.iter().filter(|o| !inet_options::is_late(o)).cloned().collect();
        socket_options::set(&early, slot, at)?;
        for (group, heard) in &self.groups {
            // struct group_req: interface 1 is the loop, as in every network namespace.
            let address = Address(SocketAddr::new(*group, 0)).bytes();
            let mut request = vec![0; 136];
            request[..4].copy_from_slice(&1u32.to_ne_bytes());
            request[8..8 + address.len()].copy_from_slice(&address);
            let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
            let batch = at.batch(136)?;
            let data = batch.data(&request);
            let args = [slot.into(), level.into(), libc::MCAST_JOIN_GROUP.into(), data.into(), 136u32.into()];
            batch.must("joining a group", libc::SYS_setsockopt, &args);
            if !heard.is_empty() {
                let batch = at.batch(heard.len())?;
                let data = batch.data(heard);
                let option = libc::MCAST_MSFILTER.into();
                let args = [slot.into(), level.into(), option, data.into(), heard.len().into()];
                batch.must("choosing whom to hear in a group", libc::SYS_setsockopt, &args);
            }
        }
        Ok(())
    }

    /// Fills its queue; nothing is connected yet, so that every datagram finds its way.
    fn connect(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        let own = match (self.own, self.queue.is_empty()) {
            (Some(own), false) => own,
            (None, false) => return Err(damaged("nobody could send to it")),
            (_, true) => return Ok(()),
        };
        // Of several that share an address, the one that is bound to the device is preferred.
        bind_to(slot, LOOP, at)?;
        let mut queue = Queue::of(id, at)?;
        for datagram in &self.queue {
            let asked = datagram.to.filter(|to| !to.0.ip().is_multicast()).unwrap_or(own);
            let mut to = match asked.0.ip().is_unspecified() {
                true if datagram.from.0.is_ipv4() => Address::any_on_loop(libc::AF_INET),
                true => Address::any_on_loop(libc::AF_INET6),
                false => asked,
            };
            to.0.set_port(own.0.port());
            let sender = match bound_to(datagram.from, at) {
                Some(sender) => at.slot(sender),
                None => {
                    let sender = at.scratch_slot()?;
                    let domain = if datagram.from.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
                    new(
                        domain,
                        Sharing { address: 1, ..Sharing::default() },
                        Some(datagram.from),
                        sender,
                        at.batch(64)?,
                    );
                    sender
                }
            };
            queue.send(sender, datagram, to, at)?;
        }
        queue.done(at)?;
        bind_to(slot, b"\0", at)
    }

    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let slot = at.slot(id);
        if let Some(peer) = self.peer {
            if self.refused {
                be_refused(self.domain, peer, slot, at)?;
            }
            peer.give("connecting a UDP socket", libc::SYS_connect, slot, at.batch(64)?);
        }
        let late: Vec<_> = self.options.iter().filter(|o| inet_options::is_late(o)).cloned().collect();
        socket_options::set(&late, slot, at)
    }
}

fn damaged(what: &str) -> Error {
    Error::Image(format!("a UDP socket is damaged: {what}"))
}

/// With UDP_CORK or MSG_MORE it keeps what is to become one datagram, which nobody else can see.
fn nothing_held_back(look: &Look) -> Result<(), Stop> {
    let unsent = socket::unsent(look.file.as_fd());
    match unsent.map_err(|e| Error::system("looking at a UDP socket", e))? {
        0 => Ok(()),
        _ => {
            Err(Stop::cannot("it holds back a datagram that is not complete (UDP_CORK, MSG_MORE)", TRY_AGAIN))
        }
    }
}

/// Whether nobody was where it sent to. Inside a pod there is no other error that comes later, unless the socket keeps
/// a queue of them.
fn refused(look: &Look) -> Result<bool, Stop> {
    let fd = look.file.as_fd();
    let events = socket::events(fd);
    let option = |level, name| socket::option(fd, level, name).unwrap_or(0);
    if events & libc::POLLERR == 0 {
        return Ok(false);
    }
    let queued =
        option(libc::IPPROTO_IP, libc::IP_RECVERR) + option(libc::IPPROTO_IPV6, libc::IPV6_RECVERR) != 0;
    if queued || events & libc::POLLIN != 0 || inet::peer_address(look).is_none() {
        return Err(Stop::cannot("it has an error that the program has not been told", TRY_AGAIN));
    }
    Ok(true)
}

/// Has a socket send to where nobody is.
fn be_refused(domain: i32, peer: Address, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let nobody = at.scratch_slot()?;
    let batch = at.batch(256)?;
    // An address that is free, in the family that it sends to.
    let any = Address(SocketAddr::new(peer.0.ip(), 0));
    new(domain, Sharing::default(), Some(any), nobody, batch);
    connect_to_name_of(nobody, slot, true, batch);
    batch.must("closing", libc::SYS_close, &[nobody.into()]);
    let none = || 0u32.into();
    let args = [slot.into(), none(), none(), libc::MSG_DONTWAIT.into(), none(), none()];
    batch.must("sending to nobody", libc::SYS_sendto, &args);
    // struct pollfd; errors are always told.
    let poll = batch.data(&[slot.to_ne_bytes(), [0; 4]].concat());
    let args = [poll.into(), 1u32.into(), PATIENCE.into()];
    batch.must("awaiting that nobody is there", libc::SYS_poll, &args);
    Ok(())
}

fn peer(look: &Look) -> Result<Option<Address>, Stop> {
    match inet::peer_address(look) {
        Some(peer) if !peer.is_everywhere() && !peer.0.ip().is_multicast() => Err(Stop::cannot(
            format!("it is connected with {peer}, which is outside the session"),
            "Close the connection in the program, then try again.",
        )),
        other => Ok(other),
    }
}

fn new(domain: i32, sharing: Sharing, own: Option<Address>, slot: i32, batch: &mut Batch) {
    let args = [domain.into(), libc::SOCK_DGRAM.into(), 0u32.into()];
    let fd = batch.must("socket", libc::SYS_socket, &args);
    place(batch, fd, slot);
    sharing.set(slot, batch);
    if let Some(own) = own {
        own.give("binding a UDP socket", libc::SYS_bind, slot, batch);
    }
    set_integer(slot, (libc::SOL_SOCKET, libc::SO_BROADCAST), 1, batch);
}

/// Binds to a device, or to none.
fn bind_to(slot: i32, device: &'static [u8], at: &mut Build<'_>) -> Result<(), Error> {
    let batch = at.batch(8)?;
    let name = batch.data(device);
    let args = [
        slot.into(),
        libc::SOL_SOCKET.into(),
        libc::SO_BINDTODEVICE.into(),
        name.into(),
        device.len().into(),
    ];
    batch.may("preferring a socket", libc::SYS_setsockopt, &args);
    Ok(())
}

/// The socket of the session that has this address to send from.
fn bound_to(from: Address, at: &Build<'_>) -> Option<FileId> {
    let is = |s: &State| {
        let same_family = from.0.is_ipv4() == (s.domain == libc::AF_INET);
        let own = s.own.filter(|own| own.0.port() == from.0.port());
        same_family && own.is_some_and(|own| own.0.ip().is_unspecified() || own.0.ip() == from.0.ip())
    };
    let found = at.image.files.iter().position(|f| matches!(&f.kind, Kind::Udp(s) if is(s)));
    found.map(|i| FileId(i as u32))
}

/// Everything in the queue, in order. The socket is left as it was.
fn queue(fd: BorrowedFd<'_>, domain: i32) -> std::io::Result<Vec<Datagram>> {
    let asks = match domain {
        libc::AF_INET => (libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR),
        _ => (libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR),
    };
    let before = socket::option(fd, libc::SOL_SOCKET, SO_PEEK_OFF)?;
    let asked = socket::option(fd, asks.0, asks.1)?;
    socket::set_option(fd, asks.0, asks.1, 1)?;
    socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, 0)?;
    let mut all = Vec::new();
    let result = loop {
        match socket::peek(fd, LARGEST) {
            Ok(peeked) => {
                let Some(from) = Address::of(&peeked.from) else { break Ok(all) };
                let to = peeked.to.as_deref().and_then(Address::of);
                all.push(Datagram { bytes: peeked.bytes, from, to });
            }
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => break Ok(all),
            Err(e) => break Err(e),
        }
        if all.len() > MOST {
            break Err(std::io::Error::other("the queue does not end"));
        }
    };
    socket::set_option(fd, libc::SOL_SOCKET, SO_PEEK_OFF, before)?;
    socket::set_option(fd, asks.0, asks.1, asked)?;
    result
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn datagrams_keep_their_order_and_their_sender() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(any).unwrap();
            let (known, gone) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            let to = receiver.local_addr().unwrap();
            known.send_to(b"one", to).unwrap();
            gone.send_to(b"", to).unwrap();
            known.send_to(b"three", to).unwrap();
            known.connect(to).unwrap();
            drop(gone);
            let mut session = Session::of(&[receiver.as_fd(), known.as_fd()]);
            session.end_source();
            drop((receiver, known));
            session.round_trip();
            assert_eq!(session.read(0, 9), b"one");
            assert_eq!(session.read(0, 9), b"");
            assert_eq!(session.read(0, 9), b"three");
            session.write(1, b"on");
            assert_eq!(session.read(0, 9), b"on");
        }
    }
}
