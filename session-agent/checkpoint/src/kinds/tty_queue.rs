//! What is under way in a terminal, in both directions.
//!
//! It can't be peeked at. So it is drained and put back at once; at the target the same is put in. Input
//! goes back with the line mode already as it was and everything else off, or the borders between lines
//! would be lost and the input echoed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roam_sys::descriptor;
use roam_sys::tty::{self, Settings};

/// Bytes under way.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Typed and not read.
    pub input: Vec<u8>,
    /// Written and not shown.
    pub output: Vec<u8>,
}

/// No terminal holds more; a larger amount is not believed.
const MOST: usize = 1 << 20;

/// Takes what is under way and puts it back. Without a slave that is open there is no input.
///
/// # Errors
/// As the calls; the settings are back nevertheless.
pub fn look(master: BorrowedFd<'_>, has_slave: bool) -> io::Result<Queued> {
    let settings = tty::settings(master)?;
    let packets = tty::ask(master, tty::Ask::Packets)? != 0;
    if packets {
        tty::set_packets(master, false)?;
    }
    let result = take_and_put(master, has_slave, &settings);
    let back = tty::set_settings(master, &settings);
    if packets {
        tty::set_packets(master, true)?;
    }
    back.and(result)
}

fn take_and_put(master: BorrowedFd<'_>, has_slave: bool, settings: &Settings) -> io::Result<Queued> {
    let output = drain(master)?;
    let mut queued = Queued { input: Vec::new(), output };
    if has_slave {
        let slave = tty::open_slave(master, libc::O_RDWR | libc::O_NONBLOCK)?;
        tty::set_settings(master, &raw(settings))?;
        queued.input = drain(slave.as_fd())?;
        put_through(master, &slave, settings, &queued)?;
    } else if !queued.output.is_empty() {
        put(master, settings, &queued)?;
    }
    Ok(queued)
}

/// Puts bytes under way. Afterwards the settings are for the caller to set.
///
/// # Errors
/// As the calls.
pub fn put(master: BorrowedFd<'_>, settings: &Settings, queued: &Queued) -> io::Result<()> {
    if queued.input.is_empty() && queued.output.is_empty() {
        return Ok(());
    }
    let slave = tty::open_slave(master, libc::O_RDWR | libc::O_NONBLOCK)?;
    put_through(master, &slave, settings, queued)
}

fn put_through(
    master: BorrowedFd<'_>,
    slave: &OwnedFd,
    settings: &Settings,
    queued: &Queued,
) -> io::Result<()> {
    tty::set_settings(master, &raw(settings))?;
    write_all(slave.as_fd(), &queued.output)?;
    if queued.input.is_empty() {
        return Ok(());
    }
    tty::set_settings(master, &quiet(settings))?;
    write_all(master, &queued.input)?;
    settle(slave.as_fd(), settings, &queued.input)
}

const LOCAL: usize = 12;
const ICANON: u32 = libc::ICANON;

fn word(settings: &Settings, at: usize) -> u32 {
    u32::from_ne_bytes([settings[at], settings[at + 1], settings[at + 2], settings[at + 3]])
}

fn with(settings: &Settings, local: u32, least: u8) -> Settings {
    let mut new = *settings;
    let output = word(settings, 4) & !libc::OPOST;
    new[..4].fill(0);
    new[4..8].copy_from_slice(&output.to_ne_bytes());
    new[LOCAL..16].copy_from_slice(&local.to_ne_bytes());
    new[17..36].fill(0);
    new[17 + libc::VMIN] = least;
    new
}

/// Everything off.
fn raw(settings: &Settings) -> Settings {
    with(settings, 0, 1)
}

/// Only the line mode as it is, and no character special.
fn quiet(settings: &Settings) -> Settings {
    let canonical = word(settings, LOCAL) & ICANON;
    with(settings, canonical, if canonical == 0 { 1 } else { 0 })
}

/// Polling also makes the kernel deliver what it has not passed on yet.
fn is_ready(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut poll_fd = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut poll_fd, PollTimeout::ZERO)?;
    Ok(poll_fd[0].revents().is_some_and(|r| r.contains(PollFlags::POLLIN)))
}

fn drain(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while all.len() < MOST && is_ready(fd)? {
        match descriptor::read(fd, &mut buffer) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            // The other side is closed, or a line ended with nothing in it.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::EAGAIN)) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = descriptor::write(fd, bytes)?;
        bytes = &bytes[n..];
    }
    Ok(())
}

/// The kernel passes input on from a worker. Waits until it has arrived, or the settings that follow
/// would meet it half-way; a few attempts, because how much counts as arrived depends on the content.
fn settle(slave: BorrowedFd<'_>, settings: &Settings, input: &[u8]) -> io::Result<()> {
    let lines = input.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let canonical = word(settings, LOCAL) & ICANON != 0;
    let expected = if canonical { lines } else { input.len() };
    for attempt in 0..40 {
        is_ready(slave)?;
        if descriptor::readable(slave)? >= expected {
            break;
        }
        std::thread::sleep(Duration::from_micros(10 * attempt));
    }
    // Half a line behind whole ones may be in a piece of its own, and nothing tells when that is there.
    if canonical && lines > 0 && lines < input.len() && input.len() > 200 {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::TERMINALS;
    use super::*;

    fn terminal() -> (OwnedFd, OwnedFd) {
        let pty = nix::pty::openpty(None, None).unwrap();
        (pty.master, pty.slave)
    }

    #[test]
    fn looking_changes_nothing() {
        let _turn = TERMINALS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (master, slave) = terminal();
        let mut settings = tty::settings(master.as_fd()).unwrap();
        let local = word(&settings, LOCAL) & !libc::ECHO;
        settings[LOCAL..16].copy_from_slice(&local.to_ne_bytes());
        tty::set_settings(master.as_fd(), &settings).unwrap();
        descriptor::write(master.as_fd(), b"one\ntwo\nhalf").unwrap();
        descriptor::write(slave.as_fd(), b"shown").unwrap();
        for _ in 0..3 {
            let queued = look(master.as_fd(), true).unwrap();
            assert_eq!(queued, Queued { input: b"one\ntwo\nhalf".into(), output: b"shown".into() });
        }
        assert_eq!(tty::settings(master.as_fd()).unwrap(), settings);
        let mut text = [0; 64];
        let n = descriptor::read(slave.as_fd(), &mut text).unwrap();
        assert_eq!(&text[..n], b"one\n");
        let n = descriptor::read(slave.as_fd(), &mut text).unwrap();
        assert_eq!(&text[..n], b"two\n");
        descriptor::write(master.as_fd(), b" line\n").unwrap();
        let n = descriptor::read(slave.as_fd(), &mut text).unwrap();
        assert_eq!(&text[..n], b"half line\n");
        let n = descriptor::read(master.as_fd(), &mut text).unwrap();
        assert_eq!(&text[..n], b"shown");
    }
}
