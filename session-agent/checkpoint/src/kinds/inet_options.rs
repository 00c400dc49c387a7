//! Options of TCP and UDP sockets: those of socket(7), ip(7), ipv6(7), tcp(7) and udp(7) that can be read back.
//!
//! Not here, because the kernel tells nothing of them: a segment size of a connection that is open (it was agreed
//! on), sticky IPV6_PKTINFO, IPV6_MTU, IPV6_FLOWLABEL_MGR, and the interface of IP_MULTICAST_IF where it was
//! chosen by number. A session's programs can't set what would change a connection's bytes or who gets it
//! (TCP_ULP, TCP_MD5SIG, SO_ATTACH_REUSEPORT_CBPF: `roam_sys::confine`).
//!
//! Refused: another protocol on top of TCP (TCP_ULP: the kernel's TLS).

use std::os::fd::AsFd;

use roam_sys::socket;

use super::open_file::{Look, Stop};
use super::socket_options::{SocketOption, Usual, differing};

/// Which of the two sizes of buffers the program chose.
pub(super) const SO_BUF_LOCK: i32 = 72;
const TCP_ULP: i32 = 31;

/// Options that are set again whatever they are, with the length of their values.
const OPTIONS: [(i32, i32, usize); 36] = [
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 4),
    (libc::SOL_SOCKET, libc::SO_BROADCAST, 4),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE, 4),
    (libc::SOL_SOCKET, libc::SO_DONTROUTE, 4),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT, 4),
    (libc::SOL_SOCKET, libc::SO_LINGER, 8),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO, 16),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO, 16),
    (libc::IPPROTO_IP, libc::IP_TOS, 4),
    // It follows the type of service unless set later.
    (libc::SOL_SOCKET, libc::SO_PRIORITY, 4),
    (libc::IPPROTO_IP, libc::IP_TTL, 4),
    (libc::IPPROTO_IP, libc::IP_RECVTOS, 4),
    (libc::IPPROTO_IP, libc::IP_RECVTTL, 4),
    (libc::IPPROTO_IP, libc::IP_RECVERR, 4),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, 4),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, 4),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, 4),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 4),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_IF, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_IF, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, 4),
    (libc::IPPROTO_TCP, libc::TCP_CORK, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT, 4),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, 4),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 4),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 4),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, 4),
];

const fn usual(level: i32, name: i32, length: usize, value: i64) -> Usual {
    Usual { level, name, length, value }
}

const fn flag(level: i32, name: i32) -> Usual {
    usual(level, name, 4, 0)
}

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;
const UDP: i32 = libc::IPPROTO_UDP;

/// Options that are set only where they differ from a new socket's. What the C library has no name for is called
/// as in the kernel's headers, beside it.
const DIFFERING: [Usual; 67] = [
    // Setting the one to 0 takes the other back, and the new forms come last because they tell of the old, too.
    flag(SOCKET, libc::SO_TIMESTAMP),
    flag(SOCKET, libc::SO_TIMESTAMPNS),
    flag(SOCKET, libc::SO_TIMESTAMPING),
    flag(SOCKET, 63), // SO_TIMESTAMP_NEW
    flag(SOCKET, 64), // SO_TIMESTAMPNS_NEW
    flag(SOCKET, 65), // SO_TIMESTAMPING_NEW
    flag(SOCKET, libc::SO_MARK),
    flag(SOCKET, libc::SO_RXQ_OVFL),
    flag(SOCKET, libc::SO_SELECT_ERR_QUEUE),
    flag(SOCKET, libc::SO_BUSY_POLL),
    flag(SOCKET, libc::SO_ZEROCOPY),
    usual(SOCKET, libc::SO_TXTIME, 8, 0),
    usual(SOCKET, 47, 8, -1), // SO_MAX_PACING_RATE
    flag(SOCKET, 62),         // SO_BINDTOIFINDEX
    flag(SOCKET, 73),         // SO_RESERVE_MEM
    flag(SOCKET, 75),         // SO_RCVMARK
    usual(SOCKET, libc::SO_PEEK_OFF, 4, -1),
    flag(IP, libc::IP_FREEBIND),
    flag(IP, libc::IP_TRANSPARENT),
    flag(IP, libc::IP_BIND_ADDRESS_NO_PORT),
    flag(IP, libc::IP_MINTTL),
    usual(IP, 49, 4, 1),                // IP_MULTICAST_ALL
    usual(IP, libc::IP_OPTIONS, 40, 0), // as many as there are
    flag(IP, libc::IP_PASSSEC),
    flag(IP, libc::IP_RECVOPTS),
    flag(IP, libc::IP_RETOPTS),
    flag(IP, libc::IP_RECVORIGDSTADDR),
    flag(IP, 23), // IP_CHECKSUM
    flag(IP, 25), // IP_RECVFRAGSIZE
    flag(IP, 26), // IP_RECVERR_RFC4884
    flag(IP, libc::IP_UNICAST_IF),
    flag(IP, 51), // IP_LOCAL_PORT_RANGE
    usual(IPV6, libc::IPV6_MTU_DISCOVER, 4, 1),
    flag(IPV6, libc::IPV6_RECVERR),
    flag(IPV6, 31), // IPV6_RECVERR_RFC4884
    flag(IPV6, libc::IPV6_RECVHOPLIMIT),
    flag(IPV6, libc::IPV6_RECVRTHDR),
    flag(IPV6, libc::IPV6_RECVHOPOPTS),
    flag(IPV6, libc::IPV6_RECVDSTOPTS),
    flag(IPV6, libc::IPV6_RECVPATHMTU),
    flag(IPV6, libc::IPV6_2292PKTINFO),
    flag(IPV6, libc::IPV6_2292HOPOPTS),
    flag(IPV6, libc::IPV6_2292DSTOPTS),
    flag(IPV6, libc::IPV6_2292RTHDR),
    flag(IPV6, libc::IPV6_2292HOPLIMIT),
    flag(IPV6, libc::IPV6_FLOWINFO),
    flag(IPV6, libc::IPV6_FLOWINFO_SEND),
    usual(IPV6, 70, 4, 1), // IPV6_AUTOFLOWLABEL
    flag(IPV6, libc::IPV6_DONTFRAG),
    flag(IPV6, 77), // IPV6_RECVFRAGSIZE
    flag(IPV6, libc::IPV6_RECVORIGDSTADDR),
    flag(IPV6, libc::IPV6_TRANSPARENT),
    flag(IPV6, libc::IPV6_FREEBIND),
    flag(IPV6, libc::IPV6_UNICAST_IF),
    flag(IPV6, libc::IPV6_MINHOPCOUNT),
    usual(IPV6, 29, 4, 1),                              // IPV6_MULTICAST_ALL
    usual(IPV6, libc::IPV6_ADDR_PREFERENCES, 4, 0x500), // public or temporary as usual, home
    usual(IPV6, libc::IPV6_RTHDR, 2048, 0),             // as long as it is
    flag(TCP, libc::TCP_SAVE_SYN),
    flag(TCP, libc::TCP_THIN_LINEAR_TIMEOUTS),
    flag(TCP, 36), // TCP_INQ
    flag(UDP, libc::UDP_CORK),
    flag(UDP, libc::UDP_NO_CHECK6_TX),
    flag(UDP, libc::UDP_NO_CHECK6_RX),
    flag(UDP, libc::UDP_GRO),
    flag(UDP, libc::UDP_SEGMENT),
    flag(UDP, libc::UDP_ENCAP),
];

/// Only of a socket without a connection: what it will ask for.
const UNCONNECTED: [Usual; 5] = [
    usual(TCP, libc::TCP_MAXSEG, 4, 536),
    flag(TCP, libc::TCP_WINDOW_CLAMP),
    flag(TCP, libc::TCP_FASTOPEN),
    flag(TCP, libc::TCP_FASTOPEN_CONNECT),
    flag(TCP, 34), // TCP_FASTOPEN_NO_COOKIE
];

/// All options of a socket that can be asked for and set again. Those that it has not are left out.
pub(super) fn options(look: &Look, connected: bool) -> Vec<SocketOption> {
    let fd = look.file.as_fd();
    let ask = |level, name, length| {
        let value = socket::option_bytes(fd, level, name, length).ok()?;
        Some(SocketOption { level, name, value })
    };
    let mut options: Vec<_> =
        OPTIONS.iter().filter_map(|&(level, name, length)| ask(level, name, length)).collect();
    options.extend(differing(look, &DIFFERING));
    if !connected {
        options.extend(differing(look, &UNCONNECTED));
    }
    // Sizes that the program did not choose are the kernel's to choose again.
    let chosen = socket::option(fd, libc::SOL_SOCKET, SO_BUF_LOCK).unwrap_or(3);
    for (bit, name) in [(1, libc::SO_SNDBUF), (2, libc::SO_RCVBUF)] {
        if chosen & bit != 0 {
            options.extend(ask(libc::SOL_SOCKET, name, 4));
        }
    }
    if let Some(mut congestion) = ask(libc::IPPROTO_TCP, libc::TCP_CONGESTION, 16) {
        congestion.value.truncate(congestion.value.iter().position(|&b| b == 0).unwrap_or(16));
        options.push(congestion);
    }
    options
}

/// Whether an option would change what is sent or received while a UDP socket gets back what it had not read.
pub(super) fn is_late(option: &SocketOption) -> bool {
    match option.level {
        UDP => true,
        SOCKET => [62, libc::SO_PEEK_OFF, libc::SO_TXTIME, libc::SO_RCVBUF].contains(&option.name),
        IP => option.name == libc::IP_MINTTL,
        IPV6 => option.name == libc::IPV6_MINHOPCOUNT,
        _ => false,
    }
}

/// What lies on top of a TCP connection can't be read back.
///
/// # Errors
/// A refusal.
pub(super) fn check_protocol_on_top(look: &Look) -> Result<(), Stop> {
    let name = socket::option_bytes(look.file.as_fd(), TCP, TCP_ULP, 16).unwrap_or_default();
    let name: Vec<u8> = name.into_iter().take_while(|&b| b != 0).collect();
    if name.is_empty() {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    Err(Stop::cannot(
        format!("the kernel has the protocol {name} on top of its connection (TCP_ULP)"),
        "Let the program do that itself (OpenSSL: without SSL_OP_ENABLE_KTLS), then try again.",
    ))
}
