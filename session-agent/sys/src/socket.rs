//! Sockets looked at through a duplicate: options, names, and what is queued, without taking it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::descriptor::check;

/// An integer option.
///
/// # Errors
/// As getsockopt(2).
pub fn option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let bytes = option_bytes(fd, level, name, 4)?;
    bytes.try_into().map(i32::from_ne_bytes).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// An option of at most this many bytes.
///
/// # Errors
/// As getsockopt(2).
pub fn option_bytes(fd: BorrowedFd<'_>, level: i32, name: i32, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; most];
    let mut len = most as libc::socklen_t;
    // SAFETY: the buffer is ours and as long as said.
    let ret =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, bytes.as_mut_ptr().cast(), &raw mut len) };
    check(ret.into())?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// The classic packet filter of a socket: instructions of 8 bytes each; none if it has none.
///
/// # Errors
/// As getsockopt(2).
pub fn filter(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    const SO_GET_FILTER: i32 = 26;
    // The kernel counts instructions here, not bytes, and this is more than it allows.
    let mut code = vec![0u8; 8 * 4096];
    let mut len = 4096 as libc::socklen_t;
    // SAFETY: the buffer is ours and holds as many instructions as said.
    let ret = unsafe {
        let code = code.as_mut_ptr().cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_GET_FILTER, code, &raw mut len)
    };
    check(ret.into())?;
    code.truncate(8 * len as usize);
    Ok(code)
}

/// Sets an integer option.
///
/// # Errors
/// As setsockopt(2).
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    set_option_bytes(fd, level, name, &value.to_ne_bytes())
}

/// Sets an option.
///
/// # Errors
/// As setsockopt(2).
pub fn set_option_bytes(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the value lives through the call and has the length said.
    let ret = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    check(ret.into()).map(drop)
}

/// The next bytes of a stream, at most so many, without taking them. Fewer only if there are fewer.
///
/// # Errors
/// As recv(2).
pub fn peek_stream(fd: BorrowedFd<'_>, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; most];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is ours and as long as said.
    let n = unsafe { libc::recv(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) };
    bytes.truncate(check(n as libc::c_long)? as usize);
    Ok(bytes)
}

/// The next of those who wait to be accepted; none if nobody does. Nothing waits for it, and it has no flags that
/// the program sees.
///
/// # Errors
/// As accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    if events(listener) & libc::POLLIN == 0 {
        return Ok(None);
    }
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for; the new descriptor is ours alone.
    unsafe {
        let nobody = std::ptr::null_mut();
        let fd = check(libc::accept4(listener.as_raw_fd(), nobody, std::ptr::null_mut(), flags).into())?;
        Ok(Some(OwnedFd::from_raw_fd(fd as i32)))
    }
}

/// Binds a socket to an address, with its family in front.
///
/// # Errors
/// As bind(2).
pub fn bind(fd: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    let length = address.len() as libc::socklen_t;
    // SAFETY: the address is ours and as long as said.
    check(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), length) }.into()).map(drop)
}

/// Connects a socket with an address, with its family in front.
///
/// # Errors
/// As connect(2).
pub fn connect(fd: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    let length = address.len() as libc::socklen_t;
    // SAFETY: the address is ours and as long as said.
    check(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), length) }.into()).map(drop)
}

/// Listens, or sets how many may wait.
///
/// # Errors
/// As listen(2).
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }.into()).map(drop)
}

/// Ends directions: SHUT_RD, SHUT_WR.
///
/// # Errors
/// As shutdown(2).
pub fn shut(fd: BorrowedFd<'_>, how: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }.into()).map(drop)
}

/// The urgent byte of a TCP connection, without taking it.
///
/// # Errors
/// As recv(2): EAGAIN if it is under way, EINVAL if there is none or it was read.
pub fn peek_urgent(fd: BorrowedFd<'_>) -> io::Result<u8> {
    let mut byte = 0u8;
    let flags = libc::MSG_OOB | libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: one byte of ours is written.
    let n = unsafe { libc::recv(fd.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    check(n as libc::c_long).map(|_| byte)
}

/// Whether the next byte of a stream is the urgent one.
///
/// # Errors
/// As ioctl(2).
pub fn at_mark(fd: BorrowedFd<'_>) -> io::Result<bool> {
    const SIOCATMARK: libc::c_ulong = 0x8905;
    let mut at: libc::c_int = 0;
    // SAFETY: SIOCATMARK writes one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCATMARK, &raw mut at) }.into())?;
    Ok(at != 0)
}

/// Breaks a TCP connection off; the socket can be connected anew.
///
/// # Errors
/// As connect(2).
pub fn disconnect(fd: BorrowedFd<'_>) -> io::Result<()> {
    connect(fd, &[0; 16])
}

/// Sends bytes without waiting.
///
/// # Errors
/// As send(2); EAGAIN if there was no room for all.
pub fn send_all(fd: BorrowedFd<'_>, bytes: &[u8], flags: i32) -> io::Result<()> {
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes are ours and as many as said.
    let n = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    if check(n as libc::c_long)? as usize == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }
}

/// How many bytes were sent and not confirmed by the other side.
///
/// # Errors
/// As ioctl(2).
pub fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut n: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut n) }.into())?;
    Ok(n as usize)
}

/// Whether an error waits to be told. Asking does not take it.
#[must_use]
pub fn has_error(fd: BorrowedFd<'_>) -> bool {
    events(fd) & libc::POLLERR != 0
}

/// What poll(2) says of reading, urgent data, ends and errors, without waiting.
#[must_use]
pub fn events(fd: BorrowedFd<'_>) -> i16 {
    let wanted = libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP;
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: wanted, revents: 0 };
    // SAFETY: one structure that lives through the call.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if ready > 0 { poll.revents } else { 0 }
}

type GetName = unsafe extern "C" fn(i32, *mut libc::sockaddr, *mut libc::socklen_t) -> i32;

fn name(fd: BorrowedFd<'_>, get: GetName) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; 128];
    let mut len = bytes.len() as libc::socklen_t;
    // SAFETY: the buffer is ours, as long as said, and as large as any address.
    check(unsafe { get(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), &raw mut len) }.into())?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// The socket's own address, with its family in front.
///
/// # Errors
/// As getsockname(2).
pub fn own_name(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    name(fd, libc::getsockname)
}

/// The address of the other side, with its family in front.
///
/// # Errors
/// As getpeername(2).
pub fn peer_name(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    name(fd, libc::getpeername)
}

/// The pid that SO_PEERCRED names, as this process sees it; 0 for none.
///
/// # Errors
/// As getsockopt(2).
pub fn peer_pid(fd: BorrowedFd<'_>) -> io::Result<i32> {
    let bytes = option_bytes(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, 12)?;
    Ok(bytes.first_chunk().map_or(0, |pid| i32::from_ne_bytes(*pid)))
}

/// One message, looked at.
#[derive(Debug, Default)]
pub struct Peeked {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Descriptors in flight with it, duplicated.
    pub files: Vec<OwnedFd>,
    /// Credentials of the sender (pid, uid, gid), if the socket asks for them.
    pub credentials: Option<[u32; 3]>,
    /// The sender's address with its family in front; short if it has none.
    pub from: Vec<u8>,
    /// The address that it was sent to, if the socket asks for it.
    pub to: Option<Vec<u8>>,
}

/// Looks at the next message of a unix or UDP socket, at its SO_PEEK_OFF, without taking it.
///
/// # Errors
/// EAGAIN if there is none; EMSGSIZE for one larger than `most`.
pub fn peek(fd: BorrowedFd<'_>, most: usize) -> io::Result<Peeked> {
    let mut bytes = vec![0u8; most];
    let mut from = vec![0u8; 128];
    // Room for the 253 descriptors that a message may carry, and credentials.
    let mut control = vec![0u64; 256];
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let mut peeked = Peeked::default();
    // SAFETY: all buffers outlive the call and have the lengths said; the control messages are walked
    // with the C library's macros, and each descriptor in them is new and ours alone.
    let (n, flags) = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_name = from.as_mut_ptr().cast();
        header.msg_namelen = from.len() as libc::socklen_t;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() * 8;
        let n = check(libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) as libc::c_long)?;
        let mut cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        while !cmsg.is_null() {
            let data = libc::CMSG_DATA(cmsg);
            let len = (*cmsg).cmsg_len - libc::CMSG_LEN(0) as usize;
            match ((*cmsg).cmsg_level, (*cmsg).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for i in 0..len / 4 {
                        let raw = data.cast::<i32>().add(i).read_unaligned();
                        peeked.files.push(OwnedFd::from_raw_fd(raw));
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if len >= 12 => {
                    peeked.credentials = Some(data.cast::<[u32; 3]>().read_unaligned());
                }
                (libc::SOL_IP, libc::IP_ORIGDSTADDR) | (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => {
                    peeked.to = Some(std::slice::from_raw_parts(data, len).to_vec());
                }
                _ => {}
            }
            cmsg = libc::CMSG_NXTHDR(&raw const header, cmsg);
        }
        from.truncate(header.msg_namelen as usize);
        (n as usize, header.msg_flags)
    };
    if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    bytes.truncate(n);
    Ok(Peeked { bytes, from, ..peeked })
}

/// Of the next `len` bytes of a unix stream, which end with data that carries descriptors: how many come
/// before that data. A peek of fewer bytes does not tell (it shows the descriptors early), so the last
/// byte is peeked into memory that isn't there: the kernel then stops at the piece it belongs to.
///
/// # Errors
/// As mmap(2) and recv(2).
pub fn plain_before_files(fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    const PAGE: usize = 4096;
    let room = (len - 1).next_multiple_of(PAGE);
    // SAFETY: a new mapping, whose last page is made inaccessible; the kernel checks each access to it
    // and answers EFAULT. Unmapped at the end, and nothing refers to it.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let base = libc::mmap(std::ptr::null_mut(), room + PAGE, prot, flags, -1, 0);
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::mprotect(base.add(room), PAGE, libc::PROT_NONE);
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let n = libc::recv(fd.as_raw_fd(), base.add(room - (len - 1)), len, flags);
        let result = check(n as libc::c_long);
        libc::munmap(base, room + PAGE);
        match result {
            Err(e) if e.raw_os_error() == Some(libc::EFAULT) => Ok(0),
            other => Ok(other? as usize),
        }
    }
}
