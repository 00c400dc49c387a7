//! Options of sockets other than unix ones: kept where they differ from a new socket's.

use std::os::fd::AsFd;

use roam_sys::socket;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::open_file::Look;
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

/// The packet filter of a socket, as setsockopt takes it; `None` if it has none.
pub fn filter(look: &Look) -> Option<Vec<u8>> {
    let code = socket::filter(look.file.as_fd()).ok()?;
    (!code.is_empty()).then_some(code)
}

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
        batch.may("setting a socket option", libc::SYS_setsockopt, &args);
    }
    Ok(())
}

/// Attaches a packet filter.
///
/// # Errors
/// If calls before failed.
pub fn set_filter(code: &[u8], slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    const SO_ATTACH_FILTER: i32 = 26;
    let batch = at.batch(code.len() + 16)?;
    let data = batch.data(code);
    // struct sock_fprog: how many instructions, and where.
    let program = batch.data(&[&((code.len() / 8) as u64).to_ne_bytes()[..], &[0; 8]].concat());
    batch.pointer(program, 8, data);
    let args = [slot.into(), libc::SOL_SOCKET.into(), SO_ATTACH_FILTER.into(), program.into(), 16u32.into()];
    batch.must("attaching a packet filter", libc::SYS_setsockopt, &args);
    Ok(())
}
