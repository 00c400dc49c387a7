//! Multicast groups that sockets have joined on the loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::unistd::Pid;

use crate::procfs;

/// The loop's interface number in every network namespace.
const LOOP: u32 = 1;

/// The groups that somebody in the network namespace of this process has joined on the loop.
///
/// # Errors
/// If the process has ended.
pub fn groups_of(pid: Pid) -> io::Result<Vec<IpAddr>> {
    let text = |file: &str| procfs::read(&format!("/proc/{pid}/net/{file}"));
    let mut groups = v4(&String::from_utf8_lossy(&text("igmp")?));
    // A kernel without IPv6 has no such file.
    groups.extend(v6(&String::from_utf8_lossy(&text("igmp6").unwrap_or_default())));
    Ok(groups)
}

/// `1 lo : 1 V3` and below it `010000E0 1 0:00000000 0`: the address as the number that it is in memory.
fn v4(text: &str) -> Vec<IpAddr> {
    let mut on_loop = false;
    let mut groups = Vec::new();
    for line in text.lines().skip(1) {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if !line.starts_with(['\t', ' ']) {
            on_loop = first.parse() == Ok(LOOP);
        } else if let (true, Ok(number)) = (on_loop, u32::from_str_radix(first, 16)) {
            groups.push(Ipv4Addr::from(number.to_ne_bytes()).into());
        }
    }
    groups
}

/// `1 lo ff020000000000000000000000000001 1 0000000C 0`.
fn v6(text: &str) -> Vec<IpAddr> {
    let group = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next()?.parse() == Ok(LOOP)).then_some(())?;
        let number = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        Some(IpAddr::from(Ipv6Addr::from(number)))
    };
    text.lines().filter_map(group).collect()
}

/// More senders than the kernel lets a socket name for one group, unless it is told otherwise (igmp_max_msf).
const SENDERS: usize = 64;
/// struct group_filter: interface, group, mode, number of senders, …
const MODE: usize = 136;
const NUMBER: usize = 140;
/// … and the senders.
const LIST: usize = 144;
/// struct sockaddr_storage.
const ADDRESS: usize = 128;

/// Of a group that a socket has joined on the loop, whom it hears there, as MCAST_MSFILTER takes it; nothing if it
/// hears everybody. `None` if it has not joined.
///
/// # Errors
/// If it names more senders than are asked for.
pub fn membership(fd: BorrowedFd<'_>, group: IpAddr) -> io::Result<Option<Vec<u8>>> {
    let mut filter = vec![0u8; LIST + SENDERS * ADDRESS];
    filter[..4].copy_from_slice(&LOOP.to_ne_bytes());
    filter[NUMBER..LIST].copy_from_slice(&(SENDERS as u32).to_ne_bytes());
    let level = match group {
        IpAddr::V4(ip) => {
            filter[8..10].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            filter[12..16].copy_from_slice(&ip.octets());
            libc::IPPROTO_IP
        }
        IpAddr::V6(ip) => {
            filter[8..10].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            filter[16..32].copy_from_slice(&ip.octets());
            libc::IPPROTO_IPV6
        }
    };
    let mut length = filter.len() as libc::socklen_t;
    // SAFETY: the buffer is ours, as long as said, and has room for as many senders as it says.
    let ret = unsafe {
        let filter = filter.as_mut_ptr().cast();
        libc::getsockopt(fd.as_raw_fd(), level, libc::MCAST_MSFILTER, filter, &raw mut length)
    };
    if ret != 0 {
        return Ok(None);
    }
    let word = |at: usize| filter[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
    let (mode, senders) = (word(MODE), word(NUMBER) as usize);
    if senders > SENDERS {
        return Err(io::Error::other("it names too many senders"));
    }
    if mode == libc::MCAST_EXCLUDE.cast_unsigned() && senders == 0 {
        return Ok(Some(Vec::new()));
    }
    filter.truncate(LIST + senders * ADDRESS);
    Ok(Some(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_group_is_found_and_who_joined_it() {
        let group: Ipv4Addr = "239.7.7.7".parse().unwrap();
        let (joined, other) = (UdpSocket::bind("0.0.0.0:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
        joined.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        assert!(groups_of(Pid::this()).unwrap().contains(&group.into()));
        assert_eq!(membership(joined.as_fd(), group.into()).unwrap(), Some(Vec::new()));
        assert_eq!(membership(other.as_fd(), group.into()).unwrap(), None);
    }

    #[test]
    fn garbage_is_left_out() {
        assert_eq!(v4("x\n1 lo :\n\tzz 1\n"), Vec::<IpAddr>::new());
        assert_eq!(v6("1 lo xyz\n\n2 lo 00"), Vec::<IpAddr>::new());
    }
}
