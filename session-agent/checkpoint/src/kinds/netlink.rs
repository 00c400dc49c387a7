//! Netlink sockets: routes, device events, generic netlink, socket diagnosis, between programs, and others of which
//! the kernel keeps nothing but the socket.
//!
//! Refused: other protocols, and a socket with unread messages (for a moment only). Only the first of them can be
//! seen without taking it, and what the kernel said can't be said again: an answer follows from a question that
//! nobody knows any more, and messages from others than the kernel are ignored by those who read it.

use std::os::fd::AsFd;

use roam_sys::socket;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::socket_options::{self, Filter, SocketOption};
use crate::error::Error;

/// A netlink socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// SOCK_RAW or SOCK_DGRAM.
    pub kind: i32,
    /// NETLINK_*.
    pub protocol: i32,
    /// Its address: port and groups, if it is bound.
    pub address: Option<(u32, u32)>,
    /// Groups that it joined, a bit for each.
    pub groups: Vec<u8>,
    /// Options.
    pub options: Vec<SocketOption>,
    /// A packet filter.
    pub filter: Option<Filter>,
}

const PROTOCOLS: [i32; 8] = [
    libc::NETLINK_ROUTE,
    libc::NETLINK_USERSOCK,
    libc::NETLINK_SOCK_DIAG,
    libc::NETLINK_SELINUX,
    libc::NETLINK_AUDIT,
    libc::NETLINK_KOBJECT_UEVENT,
    libc::NETLINK_GENERIC,
    libc::NETLINK_CRYPTO,
];
const OPTIONS: [(i32, i32); 9] = [
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_PASSCRED),
    (libc::SOL_NETLINK, libc::NETLINK_PKTINFO),
    (libc::SOL_NETLINK, libc::NETLINK_BROADCAST_ERROR),
    (libc::SOL_NETLINK, libc::NETLINK_NO_ENOBUFS),
    (libc::SOL_NETLINK, libc::NETLINK_CAP_ACK),
    (libc::SOL_NETLINK, 11), // NETLINK_EXT_ACK
    (libc::SOL_NETLINK, 12), // NETLINK_GET_STRICT_CHK
];
const LIST_MEMBERSHIPS: i32 = 9;
const REMEDY: &str = "Try again in a moment; if it stays so, this program can't be moved yet.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFSOCK && domain(look) == Some(libc::AF_NETLINK)
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        protocol(look)?;
        socket_options::filter(look)?;
        unread(look)
    }

    fn capture(look: &Look, _at: &mut Capture<'_>) -> Result<Self, Stop> {
        let failed = |e| Error::system("looking at a netlink socket", e);
        let fd = look.file.as_fd();
        let protocol = protocol(look)?;
        unread(look)?;
        let kind = socket::option(fd, libc::SOL_SOCKET, libc::SO_TYPE).map_err(failed)?;
        // struct sockaddr_nl: family, padding, port, groups.
        let name = socket::own_name(fd).map_err(failed)?;
        let word = |at: usize| name.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let address = word(4).zip(word(8)).filter(|(port, _)| *port != 0);
        let groups = socket::option_bytes(fd, libc::SOL_NETLINK, LIST_MEMBERSHIPS, 64).unwrap_or_default();
        let options = socket_options::read(look, &OPTIONS);
        Ok(Self { kind, protocol, address, groups, options, filter: socket_options::filter(look)? })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        if !PROTOCOLS.contains(&self.protocol) {
            return Err(Error::Image("a netlink socket is damaged".into()));
        }
        let slot = at.slot(id);
        let batch = at.batch(16)?;
        let kind = self.kind | libc::SOCK_NONBLOCK;
        let args = [libc::AF_NETLINK.into(), kind.into(), self.protocol.into()];
        let fd = batch.must("socket", libc::SYS_socket, &args);
        at.place(fd, slot);
        socket_options::set(&self.options, slot, at)?;
        if let Some(filter) = &self.filter {
            socket_options::set_filter(filter, slot, at)?;
        }
        if let Some((port, groups)) = self.address {
            let mut address = (libc::AF_NETLINK as u32).to_ne_bytes().to_vec();
            address.extend(port.to_ne_bytes());
            address.extend(groups.to_ne_bytes());
            let batch = at.batch(12)?;
            let data = batch.data(&address);
            batch.must("binding a netlink socket", libc::SYS_bind, &[slot.into(), data.into(), 12u32.into()]);
        }
        // The first 32 groups are in the address already.
        for (i, byte) in self.groups.iter().enumerate().skip(4) {
            for group in (0..8).filter(|bit| byte & (1 << bit) != 0).map(|bit| i * 8 + bit + 1) {
                let batch = at.batch(4)?;
                let data = batch.data(&(group as u32).to_ne_bytes());
                let args = [
                    slot.into(),
                    libc::SOL_NETLINK.into(),
                    libc::NETLINK_ADD_MEMBERSHIP.into(),
                    data.into(),
                    4u32.into(),
                ];
                batch.must("joining a netlink group", libc::SYS_setsockopt, &args);
            }
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

fn unread(look: &Look) -> Result<(), Stop> {
    if socket::peek(look.file.as_fd(), 1).is_ok_or_truncated() {
        return Err(Stop::cannot("it has not read yet what the kernel told it", REMEDY));
    }
    Ok(())
}

/// AF_* of a socket.
pub(super) fn domain(look: &Look) -> Option<i32> {
    socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN).ok()
}

fn protocol(look: &Look) -> Result<i32, Stop> {
    let protocol = socket::option(look.file.as_fd(), libc::SOL_SOCKET, libc::SO_PROTOCOL)
        .map_err(|e| Error::system("looking at a netlink socket", e))?;
    if PROTOCOLS.contains(&protocol) {
        return Ok(protocol);
    }
    Err(Stop::cannot(format!("netlink sockets of protocol {protocol} can't be carried"), REMEDY))
}

trait Queued {
    fn is_ok_or_truncated(&self) -> bool;
}

impl<T> Queued for std::io::Result<T> {
    /// There is a message, whether it fits or not.
    fn is_ok_or_truncated(&self) -> bool {
        match self {
            Ok(_) => true,
            Err(e) => e.raw_os_error() == Some(libc::EMSGSIZE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
    use std::os::fd::AsRawFd;

    #[test]
    fn a_listener_for_devices_listens_again() {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkKObjectUEvent,
        )
        .unwrap();
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 2)).unwrap();
        let mut session = Session::of(&[fd.as_fd()]);
        session.end_source();
        drop(fd);
        session.round_trip();
    }
}
