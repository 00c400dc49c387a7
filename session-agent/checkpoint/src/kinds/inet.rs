//! Sockets of the network: those without a connection.
//!
//! New ones, listeners at this machine's own addresses, and bound datagram sockets are made anew.
//! Refused: connections, by name and address, until they are carried.

use std::os::fd::AsFd;

use roam_sys::{descriptor, socket};
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::netlink::domain;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::socket_options::{self, SocketOption};
use crate::error::Error;

/// A socket without a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// AF_INET or AF_INET6.
    pub domain: i32,
    /// SOCK_STREAM or SOCK_DGRAM.
    pub kind: i32,
    /// IPPROTO_*.
    pub protocol: i32,
    /// What it is bound to, as bind(2) takes it.
    pub address: Option<Vec<u8>>,
    /// How many connections may wait, if it listens.
    pub backlog: Option<i32>,
    /// Options.
    pub options: Vec<SocketOption>,
}

const OPTIONS: [(i32, i32); 9] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IP, libc::IP_RECVERR),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
];
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
const REMEDY: &str = "Close the connection in the program, then try again; \
                      network connections will move in a later version of Roam.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFSOCK && matches!(domain(look), Some(libc::AF_INET | libc::AF_INET6))
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        state(look).map(drop)
    }

    fn capture(look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        state(look)
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let known = [libc::AF_INET, libc::AF_INET6].contains(&self.domain)
            && [libc::SOCK_STREAM, libc::SOCK_DGRAM].contains(&self.kind);
        if !known {
            return Err(Error::Image("a network socket is damaged".into()));
        }
        let slot = at.slot(id);
        let kind = self.kind | libc::SOCK_NONBLOCK;
        let batch = at.batch(0)?;
        let args = [self.domain.into(), kind.into(), self.protocol.into()];
        let fd = batch.must("socket", libc::SYS_socket, &args);
        at.place(fd, slot);
        socket_options::set(&self.options, slot, at)?;
        if let Some(address) = &self.address {
            let batch = at.batch(address.len())?;
            let data = batch.data(address);
            let args = [slot.into(), data.into(), address.len().into()];
            batch.must("binding a network socket", libc::SYS_bind, &args);
        }
        if let Some(backlog) = self.backlog {
            at.batch(0)?.must("listening", libc::SYS_listen, &[slot.into(), backlog.into()]);
        }
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn state(look: &Look) -> Result<State, Stop> {
    let failed = |e| Error::system("looking at a network socket", e);
    let fd = look.file.as_fd();
    let option = |name| socket::option(fd, libc::SOL_SOCKET, name).map_err(failed);
    let (domain, kind, protocol) =
        (option(libc::SO_DOMAIN)?, option(libc::SO_TYPE)?, option(libc::SO_PROTOCOL)?);
    let own = socket::own_name(fd).map_err(failed)?;
    if let Ok(peer) = socket::peer_name(fd) {
        return Err(Stop::cannot(format!("it is connected with {}", shown(&peer)), REMEDY));
    }
    let port = own.get(2..4).is_some_and(|p| p != [0, 0]);
    let mut backlog = None;
    match kind {
        libc::SOCK_STREAM if protocol == libc::IPPROTO_TCP => {
            // struct tcp_info: the state first; of a listener, waiting connections and the most of them.
            let info = socket::option_bytes(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 104).map_err(failed)?;
            let word =
                |at: usize| info.get(at..at + 4).map_or(0, |w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
            match info.first() {
                Some(&TCP_CLOSE) => {}
                Some(&TCP_LISTEN) if word(24) == 0 => backlog = Some(word(28) as i32),
                Some(&TCP_LISTEN) => {
                    return Err(Stop::cannot("a connection waits to be accepted", "Try again in a moment."));
                }
                _ => return Err(Stop::cannot("it has a connection that is opening or closing", REMEDY)),
            }
        }
        libc::SOCK_DGRAM if protocol == libc::IPPROTO_UDP => {
            if descriptor::readable(fd).map_err(failed)? > 0 {
                return Err(Stop::cannot("it has datagrams that it has not read", "Try again in a moment."));
            }
        }
        _ => return Err(Stop::cannot("sockets of this kind can't be carried yet", REMEDY)),
    }
    if port && !is_everywhere(&own) {
        return Err(Stop::cannot(format!("it is bound to {} of this machine", shown(&own)), REMEDY));
    }
    let options = socket_options::read(look, &OPTIONS);
    Ok(State { domain, kind, protocol, address: port.then_some(own), backlog, options })
}

/// An address that every pod has: any, or the loop.
fn is_everywhere(address: &[u8]) -> bool {
    match (address.first().map(|&f| i32::from(f)), address.len()) {
        (Some(libc::AF_INET), 8..) => address[4..8] == [0; 4] || address[4] == 127,
        (Some(libc::AF_INET6), 24..) => address[8..23] == [0; 15] && address[23] <= 1,
        _ => false,
    }
}

fn shown(address: &[u8]) -> String {
    use std::net::{IpAddr, SocketAddr};
    let port = address.get(2..4).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
    let ip = match address.len() {
        24.. => address[8..24].first_chunk::<16>().map(|a| IpAddr::from(*a)),
        _ => address.get(4..8).and_then(|a| a.first_chunk::<4>()).map(|a| IpAddr::from(*a)),
    };
    ip.map_or_else(|| "an unknown address".into(), |ip| SocketAddr::new(ip, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    #[test]
    fn listeners_and_datagram_sockets_are_bound_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut session = Session::of(&[listener.as_fd(), datagrams.as_fd()]);
        session.end_source();
        drop((listener, datagrams));
        session.round_trip();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_connection_is_refused_by_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let refusals = Session::refusals(&[stream.as_fd()]);
        assert!(refusals[0].reason.contains("connected with 127.0.0.1:"), "{refusals:?}");
    }
}
