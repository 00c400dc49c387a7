//! Terminals, as their master side shows and sets them from outside their session.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::descriptor::check;

/// struct termios2: four flag words, line discipline, 19 control characters, two speeds.
pub type Settings = [u8; 44];
/// struct winsize.
pub type Size = [u8; 8];

/// A number that a terminal can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Its index below /dev/pts, of a master.
    Index,
    /// Whether it is locked against opening, of a master.
    Locked,
    /// Whether it is in packet mode, of a master.
    Packets,
    /// Whether it is exclusive.
    Exclusive,
    /// The foreground process group, as this process sees it.
    Foreground,
    /// The session.
    Session,
    /// The line discipline.
    Discipline,
    /// The device number of the terminal that this is, for /dev/tty.
    Device,
}

impl Ask {
    fn request(self) -> libc::c_ulong {
        match self {
            Self::Index => libc::TIOCGPTN,
            Self::Locked => libc::TIOCGPTLCK,
            Self::Packets => libc::TIOCGPKT,
            Self::Exclusive => libc::TIOCGEXCL,
            Self::Foreground => libc::TIOCGPGRP,
            Self::Session => libc::TIOCGSID,
            Self::Discipline => libc::TIOCGETD,
            Self::Device => libc::TIOCGDEV,
        }
    }
}

/// Asks for a number.
///
/// # Errors
/// ENOTTY if it has none, EIO if it is hung up.
pub fn ask(fd: BorrowedFd<'_>, what: Ask) -> io::Result<u32> {
    let mut number = 0u32;
    // SAFETY: each of these requests writes one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), what.request(), &raw mut number) }.into())?;
    Ok(number)
}

/// The settings of the slave side; the master may be asked.
///
/// # Errors
/// EIO if it is hung up.
pub fn settings(fd: BorrowedFd<'_>) -> io::Result<Settings> {
    let mut settings = [0; 44];
    // SAFETY: TCGETS2 writes struct termios2, which has this size.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TCGETS2, settings.as_mut_ptr()) }.into())?;
    Ok(settings)
}

/// Sets them at once.
///
/// # Errors
/// As ioctl(2).
pub fn set_settings(fd: BorrowedFd<'_>, settings: &Settings) -> io::Result<()> {
    // SAFETY: TCSETS2 reads struct termios2, which has this size.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TCSETS2, settings.as_ptr()) }.into()).map(drop)
}

/// The window size.
///
/// # Errors
/// As ioctl(2).
pub fn size(fd: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = [0; 8];
    // SAFETY: TIOCGWINSZ writes struct winsize, which has this size.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) }.into())?;
    Ok(size)
}

/// Sets the window size.
///
/// # Errors
/// As ioctl(2).
pub fn set_size(fd: BorrowedFd<'_>, size: &Size) -> io::Result<()> {
    // SAFETY: TIOCSWINSZ reads struct winsize, which has this size.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, size.as_ptr()) }.into()).map(drop)
}

fn set_number(fd: BorrowedFd<'_>, request: libc::c_ulong, number: i32) -> io::Result<()> {
    // SAFETY: the requests used here read one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw const number) }.into()).map(drop)
}

/// Locks the slave against opening, or unlocks it.
///
/// # Errors
/// As ioctl(2).
pub fn set_lock(master: BorrowedFd<'_>, locked: bool) -> io::Result<()> {
    set_number(master, libc::TIOCSPTLCK, locked.into())
}

/// Packet mode: each read begins with a byte that tells what happened.
///
/// # Errors
/// As ioctl(2).
pub fn set_packets(master: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_number(master, libc::TIOCPKT, on.into())
}

/// What may be done with output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// TCOOFF: hold it back.
    Hold,
    /// TCOON.
    LetGo,
}

/// tcflow(3) on a slave.
///
/// # Errors
/// As ioctl(2).
pub fn flow(slave: BorrowedFd<'_>, what: Flow) -> io::Result<()> {
    let action = if what == Flow::Hold { libc::TCOOFF } else { libc::TCOON };
    // SAFETY: TCXONC takes a number.
    check(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TCXONC, action) }.into()).map(drop)
}

/// A queue of a terminal, as its slave sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Typed and not read.
    Input,
    /// Written and not shown.
    Output,
}

/// tcflush(3) on a slave.
///
/// # Errors
/// As ioctl(2).
pub fn flush(slave: BorrowedFd<'_>, queue: Queue) -> io::Result<()> {
    let which = if queue == Queue::Input { libc::TCIFLUSH } else { libc::TCOFLUSH };
    // SAFETY: TCFLSH takes a number.
    check(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TCFLSH, which) }.into()).map(drop)
}

/// Forbids further opening of a terminal, or allows it.
///
/// # Errors
/// As ioctl(2).
pub fn set_exclusive(slave: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let request = if on { libc::TIOCEXCL } else { libc::TIOCNXCL };
    // SAFETY: both requests take nothing.
    check(unsafe { libc::ioctl(slave.as_raw_fd(), request) }.into()).map(drop)
}

/// Opens the slave of a master, wherever /dev/pts lies.
///
/// # Errors
/// EIO if it is locked.
pub fn open_slave(master: BorrowedFd<'_>, flags: i32) -> io::Result<OwnedFd> {
    let flags = flags | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags and returns a new descriptor, which is ours alone.
    unsafe {
        let fd = check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
