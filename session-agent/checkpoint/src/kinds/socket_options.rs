//! Options of sockets other than unix ones: kept where they differ from a new socket's.

use std::os::fd::AsFd;

use roam_sys::socket;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::open_file::{Look, Stop};
use crate::error::Error;

/// An option with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOption {
    /// SOL_SOCKET and so on.
    pub level: i32,
    /// SO_* and so on.
    pub name: i32,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// Reads integer options; those that are zero or missing are left out.
pub fn read(look: &Look, names: &[(i32, i32)]) -> Vec<SocketOption> {
    let value = |&(level, name): &(i32, i32)| {
        let value = socket::option_bytes(look.file.as_fd(), level, name, 4).ok()?;
        value.iter().any(|&b| b != 0).then_some(SocketOption { level, name, value })
    };
    names.iter().filter_map(value).collect()
}

/// What an option is on a new socket.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// SOL_SOCKET and so on.
    pub level: i32,
    /// SO_* and so on.
    pub name: i32,
    /// How many bytes it has at most.
    pub length: usize,
    /// Its number; 0 also stands for none, and for zeros of any length.
    pub value: i64,
}

/// Reads options that differ from a new socket's.
pub fn differing(look: &Look, usual: &[Usual]) -> Vec<SocketOption> {
    let value = |usual: &Usual| {
        let Usual { level, name, length, value: new } = *usual;
        let value = socket::option_bytes(look.file.as_fd(), level, name, length).ok()?;
        let is_new = match new {
            0 => value.iter().all(|&b| b == 0),
            new => new.to_ne_bytes().starts_with(&value),
        };
        (!is_new).then_some(SocketOption { level, name, value })
    };
    usual.iter().filter_map(value).collect()
}

/// A packet filter of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Classic BPF, 8 bytes for each instruction; none if only the lock is there.
    pub code: Vec<u8>,
    /// Nobody may change it any more (SO_LOCK_FILTER).
    pub locked: bool,
}

/// The packet filter of a socket; `None` if it has none.
///
/// # Errors
/// A refusal of one that can't be read back.
pub fn filter(look: &Look) -> Result<Option<Filter>, Stop> {
    let fd = look.file.as_fd();
    let code = match socket::filter(fd) {
        Ok(code) => code,
        Err(e) if e.raw_os_error() == Some(libc::EACCES) => {
            return Err(Stop::cannot(
                "it has a packet filter of extended BPF (SO_ATTACH_BPF), which can't be read back",
                "Have the program take it off (SO_DETACH_BPF), then try again.",
            ));
        }
        Err(e) => return Err(Error::system("asking a socket for its packet filter", e).into()),
    };
    let locked = socket::option(fd, libc::SOL_SOCKET, libc::SO_LOCK_FILTER).is_ok_and(|locked| locked != 0);
    Ok((locked || !code.is_empty()).then_some(Filter { code, locked }))
}

/// Options that need a privilege, and without which packets would go elsewhere.
const NEEDED: [(i32, i32); 3] = [
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
];

/// Sets them.
///
/// # Errors
/// If calls before failed.
pub fn set(options: &[SocketOption], slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    for SocketOption { level, name, value } in options {
        let mut value = value.clone();
        if *level == libc::SOL_SOCKET && [libc::SO_SNDBUF, libc::SO_RCVBUF].contains(name) {
            // The kernel doubles what it is told.
            let size: [u8; 4] =
                value.try_into().map_err(|_| Error::Image("a socket's options are damaged".into()))?;
            value = (i32::from_ne_bytes(size) / 2).to_ne_bytes().to_vec();
        }
        let batch = at.batch(value.len())?;
        let data = batch.data(&value);
        let args = [slot.into(), (*level).into(), (*name).into(), data.into(), value.len().into()];
        let _ = if NEEDED.contains(&(*level, *name)) && value.iter().any(|&b| b != 0) {
            batch.must("setting a socket option", libc::SYS_setsockopt, &args)
        } else {
            batch.may("setting a socket option", libc::SYS_setsockopt, &args)
        };
    }
    Ok(())
}

/// Attaches a packet filter.
///
/// # Errors
/// If calls before failed.
pub fn set_filter(filter: &Filter, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    const SO_ATTACH_FILTER: i32 = 26;
    let code = &filter.code;
    let batch = at.batch(code.len() + 20)?;
    if !code.is_empty() {
        let data = batch.data(code);
        // struct sock_fprog: how many instructions, and where.
        let program = batch.data(&[&((code.len() / 8) as u64).to_ne_bytes()[..], &[0; 8]].concat());
        batch.pointer(program, 8, data);
        let args =
            [slot.into(), libc::SOL_SOCKET.into(), SO_ATTACH_FILTER.into(), program.into(), 16u32.into()];
        batch.must("attaching a packet filter", libc::SYS_setsockopt, &args);
    }
    if filter.locked {
        let one = batch.data(&1i32.to_ne_bytes());
        let args =
            [slot.into(), libc::SOL_SOCKET.into(), libc::SO_LOCK_FILTER.into(), one.into(), 4u32.into()];
        batch.must("locking a packet filter", libc::SYS_setsockopt, &args);
    }
    Ok(())
}
