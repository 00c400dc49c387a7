//! What sockets of the network have in common: addresses, and who else may have them. TCP is in
//! `tcp`, UDP in `udp`, options are in `inet_options`.
//!
//! Refused: sockets of other protocols (raw ones, ICMP), and addresses that are not in every pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use roam_sys::batch::{Arg, Batch};
use roam_sys::socket;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::netlink::domain;
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A socket of the network that is neither TCP nor UDP: none is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {}

const REMEDY: &str = "Close the socket in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        is_inet(look)
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        let fd = look.file.as_fd();
        let option = |name| socket::option(fd, libc::SOL_SOCKET, name).unwrap_or(-1);
        let (kind, protocol) = (option(libc::SO_TYPE), option(libc::SO_PROTOCOL));
        let what = match kind {
            libc::SOCK_RAW => "a raw socket",
            libc::SOCK_DGRAM if [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&protocol) => {
                "a socket for pings"
            }
            _ => "a socket of a protocol other than TCP and UDP",
        };
        Err(Stop::cannot(format!("{what} (number {protocol}) can't be carried"), REMEDY))
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        Self::check(look, &at.known).map(|()| Self {})
    }

    fn make(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Err(Error::Image("a network socket is of no known protocol".into()))
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn is_inet(look: &Look) -> bool {
    look.file_type() == libc::S_IFSOCK && matches!(domain(look), Some(libc::AF_INET | libc::AF_INET6))
}

/// Whether it is a socket of this type and protocol of the network.
pub(super) fn is_a(look: &Look, kind: i32, protocol: i32) -> bool {
    let option = |name| socket::option(look.file.as_fd(), libc::SOL_SOCKET, name).ok();
    is_inet(look) && option(libc::SO_TYPE) == Some(kind) && option(libc::SO_PROTOCOL) == Some(protocol)
}

/// An address and port, as programs gave it: `::ffff:127.0.0.1` and `127.0.0.1` are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address(pub SocketAddr);

impl Address {
    /// Of the bytes that getsockname(2) gives.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        Some(Self(match family {
            libc::AF_INET => {
                SocketAddr::new(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?).into(), port)
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
                let flow = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope))
            }
            _ => return None,
        }))
    }

    /// As connect(2) and bind(2) take it.
    pub(super) fn bytes(self) -> Vec<u8> {
        let port = self.0.port().to_be_bytes();
        match self.0 {
            SocketAddr::V4(v4) => {
                let family = (libc::AF_INET as u16).to_ne_bytes();
                [&family[..], &port, &v4.ip().octets(), &[0; 8]].concat()
            }
            SocketAddr::V6(v6) => {
                let family = (libc::AF_INET6 as u16).to_ne_bytes();
                let (flow, scope) = (v6.flowinfo().to_be_bytes(), v6.scope_id().to_ne_bytes());
                [&family[..], &port, &flow, &v6.ip().octets(), &scope].concat()
            }
        }
    }

    /// The same for both ways of writing an IPv4 address.
    pub(super) fn plain(self) -> (IpAddr, u16) {
        (self.0.ip().to_canonical(), self.0.port())
    }

    /// The same address in the family that it is of.
    pub(super) fn as_plain(self) -> Self {
        Self(self.plain().into())
    }

    /// An address that every pod has: any, or the loop.
    pub(super) fn is_everywhere(self) -> bool {
        let ip = self.0.ip().to_canonical();
        ip.is_unspecified() || ip.is_loopback()
    }

    /// The loop's own address in this family, any port.
    pub(super) fn any_on_loop(domain: i32) -> Self {
        let ip: IpAddr = match domain {
            libc::AF_INET6 => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        Self(SocketAddr::new(ip, 0))
    }

    /// Adds a call that takes a socket and this address.
    pub(super) fn give(self, what: &'static str, call: i64, slot: impl Into<Arg>, batch: &mut Batch) {
        let bytes = self.bytes();
        let data = batch.data(&bytes);
        batch.must(what, call, &[slot.into(), data.into(), bytes.len().into()]);
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a socket, if it has a port.
///
/// # Errors
/// A refusal of addresses of this machine.
pub(super) fn own_address(look: &Look) -> Result<Option<Address>, Stop> {
    let name = socket::own_name(look.file.as_fd());
    let name = name.map_err(|e| Error::system("asking a socket for its name", e))?;
    let Some(address) = Address::of(&name).filter(|a| a.0.port() != 0) else { return Ok(None) };
    if !address.is_everywhere() && !address.0.ip().is_multicast() {
        let remedy = "Let the program use any address (0.0.0.0) or the loop (127.0.0.1).";
        return Err(Stop::cannot(format!("it is bound to {address} of this machine"), remedy));
    }
    Ok(Some(address))
}

/// With whom a socket is connected.
pub(super) fn peer_address(look: &Look) -> Option<Address> {
    Address::of(&socket::peer_name(look.file.as_fd()).ok()?)
}

/// What decides who else may be bound to the same address; needed before bind(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharing {
    /// SO_REUSEADDR.
    pub address: i32,
    /// SO_REUSEPORT.
    pub port: i32,
    /// IPV6_V6ONLY.
    pub v6_only: i32,
}

impl Sharing {
    /// As a socket has it.
    pub(super) fn of(look: &Look) -> Self {
        let option = |level, name| socket::option(look.file.as_fd(), level, name).unwrap_or(0);
        Self {
            address: option(libc::SOL_SOCKET, libc::SO_REUSEADDR),
            port: option(libc::SOL_SOCKET, libc::SO_REUSEPORT),
            v6_only: option(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        }
    }

    /// Adds the calls that set it.
    pub(super) fn set(self, slot: impl Into<Arg> + Copy, batch: &mut Batch) {
        let options = [
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, self.v6_only),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR, self.address),
            (libc::SOL_SOCKET, libc::SO_REUSEPORT, self.port),
        ];
        for (level, name, value) in options {
            set_integer(slot, (level, name), value, batch);
        }
    }
}

/// Adds a call that sets an option to a number.
pub(super) fn set_integer(slot: impl Into<Arg>, (level, name): (i32, i32), value: i32, batch: &mut Batch) {
    let data = batch.data(&value.to_ne_bytes());
    let args = [slot.into(), level.into(), name.into(), data.into(), 4u32.into()];
    batch.may("setting a socket option", libc::SYS_setsockopt, &args);
}

/// Adds a call that sets a time-out in seconds.
pub(super) fn set_seconds(slot: impl Into<Arg>, name: i32, seconds: i64, batch: &mut Batch) {
    let data = batch.data(&[seconds.to_ne_bytes(), [0; 8]].concat());
    let args = [slot.into(), libc::SOL_SOCKET.into(), name.into(), data.into(), 16u32.into()];
    batch.may("setting a socket option", libc::SYS_setsockopt, &args);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_from_their_bytes() {
        for text in ["127.0.0.1:80", "[::1]:8080", "[fe80::1%3]:7", "[::ffff:127.0.0.1]:9", "0.0.0.0:1"] {
            let address = Address(text.parse().unwrap());
            assert_eq!(Address::of(&address.bytes()), Some(address), "{text}");
        }
        assert_eq!(Address::of(&[2, 0]), None);
    }

    #[test]
    fn only_the_loop_is_in_every_pod() {
        let everywhere = |text: &str| Address(text.parse().unwrap()).is_everywhere();
        assert!(
            ["127.9.9.9:1", "0.0.0.0:1", "[::]:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]
                .iter()
                .all(|a| everywhere(a))
        );
        assert!(!everywhere("192.0.2.1:1") && !everywhere("[2001:db8::1]:1"));
    }
}
