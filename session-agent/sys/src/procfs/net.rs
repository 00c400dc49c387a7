//! `/proc/PID/net/tcp` and `tcp6`: the TCP sockets of a process's network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

/// One TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its own address.
    pub own: SocketAddr,
    /// The other side's.
    pub peer: SocketAddr,
    /// The kernel's number of its state: 1 is established, 10 listens.
    pub state: u8,
    /// Bytes to be read, an end among them; of a listener, connections to be accepted.
    pub unread: u32,
    /// 0 if no process has it: not accepted yet, or closed already.
    pub inode: u64,
}

/// All of them, IPv4 first.
///
/// # Errors
/// If the process has ended.
pub fn tcp(pid: Pid) -> io::Result<Vec<TcpSocket>> {
    let mut sockets = Vec::new();
    for (file, required) in [("tcp", true), ("tcp6", false)] {
        match super::read(&format!("/proc/{pid}/net/{file}")) {
            Ok(text) => sockets.extend(parse(&String::from_utf8_lossy(&text))),
            // A kernel without IPv6.
            Err(_) if !required => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sockets)
}

/// The lines after the first; those that are not understood are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<TcpSocket> {
    text.lines().skip(1).filter_map(line).collect()
}

/// `sl local remote state tx:rx timer:when retransmits uid time-out inode …`
fn line(line: &str) -> Option<TcpSocket> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, unread) = words.get(4)?.split_once(':')?;
    Some(TcpSocket {
        own: address(words.get(1)?)?,
        peer: address(words.get(2)?)?,
        state: u8::from_str_radix(words.get(3)?, 16).ok()?,
        unread: u32::from_str_radix(unread, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

/// `0100007F:0050`: each 32 bits of the address as the number that they are in memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words = (0..ip.len() / 8).map(|i| u32::from_str_radix(ip.get(8 * i..8 * i + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_that_waits_is_found() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let all = tcp(Pid::this()).unwrap();
            let mine = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
            let waiting = all.iter().find(|s| (s.own, s.peer) == mine).unwrap();
            assert_eq!((waiting.state, waiting.inode), (1, 0));
            let listening = all.iter().find(|s| s.own == mine.0 && s.state == 10).unwrap();
            assert_eq!(listening.unread, 1);
        }
    }

    #[test]
    fn garbage_is_left_out() {
        assert_eq!(parse("sl\n 0: zz:1 x\n1: 0100007F:0050 0100007F 01 0:0"), []);
    }
}
