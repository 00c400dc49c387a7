//! New namespaces, made without privileges: the walls of a pod.
//!
//! Refused: forking while this process has more than one thread, because the child could then wait for
//! a lock whose owner does not exist in it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sched::CloneFlags;
use nix::unistd::Pid;

/// CLONE_NEWTIME, which Debian 12's headers know but nix does not.
pub const NEW_TIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// Which side of the fork this is.
pub enum Forked {
    /// The caller.
    Parent {
        /// The child's pid as the caller sees it.
        pid: Pid,
        /// The child, safe against reuse of its pid.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// Forks a child into new namespaces. The child's user namespace has no id map yet; the caller
/// writes it (`/proc/PID/uid_map`).
///
/// # Errors
/// The kernel's; EBUSY if this process has more than one thread.
pub fn fork_into(namespaces: CloneFlags) -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain numbers, for which zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (namespaces.bits() as u32 as u64) | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM and without a stack this is a fork; this process has one thread, so the
    // child's copy of memory holds no lock of another thread. The kernel writes one int to `pidfd`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of_val(&args)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: the kernel made this descriptor just now for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent { pid: Pid::from_raw(pid as i32), pidfd })
        }
    }
}

/// Brings the loopback interface of this process's network namespace up.
///
/// # Errors
/// The kernel's.
pub fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain bytes and numbers, for which zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A NETLINK_SOCK_DIAG socket in this process's network namespace.
///
/// # Errors
/// The kernel's.
pub fn socket_diag() -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes three numbers.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks a namespace, or a socket, for a namespace that belongs to it.
fn related(fd: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<OwnedFd> {
    // SAFETY: these requests take no argument and return a new descriptor.
    let found = unsafe { libc::ioctl(fd.as_raw_fd(), request) };
    if found < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(found) })
}

/// The user namespace that owns a namespace, whose descriptor this is; of a user namespace, its parent
/// (NS_GET_USERNS).
///
/// # Errors
/// EPERM if it is not below this process's own.
pub fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    related(namespace, 0xb701)
}

/// The parent of a pid or user namespace (NS_GET_PARENT).
///
/// # Errors
/// EPERM if it is not below this process's own.
pub fn parent(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    related(namespace, 0xb702)
}

/// The network namespace of a socket (SIOCGSKNS).
///
/// # Errors
/// EPERM if this process has no rights over it.
pub fn of_socket(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    related(socket, 0x894c)
}

/// The credentials of the process at the other end of a unix socket.
///
/// # Errors
/// The kernel's.
pub fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let credentials = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
    Ok(credentials.uid())
}
