//! What is under way in a terminal, in both directions, and whether it is held back.
//!
//! It can't be peeked at. So it is drained and put back at once; at the target the same is put in. Whole lines
//! are read one by one, since a line may end with what is not in it (an end of file that was
//! typed). A keeper that is killed in between, some hundred microseconds, takes it along. Input goes back with the line mode already as it was and everything else off, or the borders between
//! lines would be lost and the input echoed.
//!
//! What differs afterwards: of the news of packet mode (TIOCPKT), a flush is not told if the queue was filled again
//! since, nor a change to or from extended processing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roam_sys::descriptor;
use roam_sys::tty::{self, Flow, Settings};
use serde::{Deserialize, Serialize};

/// What is under way.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Typed and not read: each whole line, as one read gives it.
    pub lines: Vec<Vec<u8>>,
    /// Typed and no whole line yet, or not read without line mode.
    pub input: Vec<u8>,
    /// Written and not shown.
    pub output: Vec<u8>,
    /// Output is held back.
    pub held: Option<Hold>,
    /// In packet mode: the news that the master has not read, TIOCPKT_* bits.
    pub news: u8,
}

/// Who holds output back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// A program, by tcflow(3).
    Program,
    /// Whoever typed the stop character, usually Ctrl+S.
    Typed,
}

const FLUSH_READ: u8 = 1;
const FLUSH_WRITE: u8 = 2;
const HELD: u8 = 4;
const LET_GO: u8 = 8;
const BY_KEYS: u8 = 16 | 32;

/// No terminal holds more; a larger amount is not believed.
const MOST: usize = 1 << 20;
/// How often, and for how many milliseconds, room is waited for.
const ATTEMPTS: u32 = 200;
const PATIENCE: u8 = 10;
/// The smallest buffer that the kernel has for what is under way, and the most that one write puts into one.
const PIECE: usize = 256;
const LAST_PIECE: usize = 2048;
/// No line is longer.
const LINE: usize = 8192;

/// Takes what is under way and puts it back. Without a slave that is open there is no input.
///
/// # Errors
/// As the calls; the settings are back nevertheless.
pub fn look(master: BorrowedFd<'_>, has_slave: bool) -> io::Result<Queued> {
    let settings = tty::settings(master)?;
    let packets = tty::ask(master, tty::Ask::Packets)? != 0;
    let mut news = 0;
    if packets {
        if is(master, PollFlags::POLLPRI)? {
            let mut byte = [0];
            descriptor::read(master, &mut byte)?;
            news = byte[0];
        }
        tty::set_packets(master, false)?;
    }
    let mut queued = Queued { news, output: drain(master)?, ..Queued::default() };
    let slave = if has_slave || !queued.output.is_empty() {
        Some(tty::open_slave(master, libc::O_RDWR | libc::O_NONBLOCK)?)
    } else {
        None
    };
    let taken = match &slave {
        Some(slave) if has_slave => take(master, slave, &settings, &mut queued),
        _ => Ok(()),
    };
    let back = put_through(master, slave.as_ref(), &settings, packets, &queued);
    taken.and(back).map(|()| queued)
}

fn take(master: BorrowedFd<'_>, slave: &OwnedFd, settings: &Settings, queued: &mut Queued) -> io::Result<()> {
    // With nothing under way there is room, unless output is held back.
    if !is(slave.as_fd(), PollFlags::POLLOUT)? {
        tty::flow(slave.as_fd(), Flow::LetGo)?;
        // What was typed is let go with the settings below.
        queued.held = Some(if is(slave.as_fd(), PollFlags::POLLOUT)? { Hold::Program } else { Hold::Typed });
    }
    if word(settings, LOCAL) & ICANON != 0 {
        let mut line = vec![0; LINE];
        let mut sum = 0;
        while sum < MOST && is(slave.as_fd(), PollFlags::POLLIN)? {
            match descriptor::read(slave.as_fd(), &mut line) {
                Ok(n) => {
                    queued.lines.push(line[..n].to_vec());
                    sum += n + 1;
                }
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => break,
                Err(e) => return Err(e),
            }
        }
    }
    tty::set_settings(master, &raw(settings))?;
    queued.input = drain(slave.as_fd())?;
    Ok(())
}

/// Sets a new terminal up: the settings, what is under way, packet mode.
///
/// # Errors
/// As the calls.
pub fn put(master: BorrowedFd<'_>, settings: &Settings, packets: bool, queued: &Queued) -> io::Result<()> {
    let nothing = *queued == Queued::default();
    let slave = if nothing { None } else { Some(tty::open_slave(master, libc::O_RDWR | libc::O_NONBLOCK)?) };
    put_through(master, slave.as_ref(), settings, packets, queued)
}

fn put_through(
    master: BorrowedFd<'_>,
    slave: Option<&OwnedFd>,
    settings: &Settings,
    packets: bool,
    queued: &Queued,
) -> io::Result<()> {
    let Some(slave) = slave.map(AsFd::as_fd) else {
        tty::set_settings(master, settings)?;
        return if packets { tty::set_packets(master, true) } else { Ok(()) };
    };
    let filled = (|| {
        tty::set_settings(master, &raw(settings))?;
        write_all(slave, &queued.output)?;
        put_input(master, slave, settings, queued)
    })();
    tty::set_settings(master, settings)?;
    filled?;
    let news = if packets { queued.news } else { 0 };
    if news & HELD == 0 {
        hold(master, slave, settings, queued.held)?;
    }
    if !packets {
        return Ok(());
    }
    tty::set_packets(master, true)?;
    if news & BY_KEYS != 0 {
        // Whether Ctrl+S holds output is told when it changes.
        let mut other = *settings;
        let keys = word(settings, 0) ^ libc::IXON;
        other[..4].copy_from_slice(&keys.to_ne_bytes());
        tty::set_settings(master, &other)?;
        tty::set_settings(master, settings)?;
    }
    if news & FLUSH_READ != 0 && queued.input.is_empty() && queued.lines.is_empty() {
        tty::flush(slave, tty::Queue::Input)?;
    }
    if news & FLUSH_WRITE != 0 && queued.output.is_empty() {
        tty::flush(slave, tty::Queue::Output)?;
    }
    if news & LET_GO != 0 {
        tty::flow(slave, Flow::Hold)?;
        tty::flow(slave, Flow::LetGo)?;
    }
    if news & HELD != 0 {
        hold(master, slave, settings, queued.held)?;
    }
    Ok(())
}

/// Writes what was typed. The line mode is as it was, but the only special characters are those that end lines.
fn put_input(
    master: BorrowedFd<'_>,
    slave: BorrowedFd<'_>,
    settings: &Settings,
    queued: &Queued,
) -> io::Result<()> {
    if queued.lines.is_empty() && queued.input.is_empty() {
        return Ok(());
    }
    let ends = [b'\n', settings[CHARACTERS + libc::VEOL], settings[CHARACTERS + libc::VEOL2]];
    let typed = || queued.lines.iter().flatten().chain(&queued.input);
    // A character that stands for the end of a file, since it is in none of the text.
    let end = (1..=u8::MAX).find(|c| !ends.contains(c) && typed().all(|b| b != c)).unwrap_or(0);
    let mut bytes = Vec::new();
    for line in &queued.lines {
        bytes.extend_from_slice(line);
        if !line.last().is_some_and(|b| ends.contains(b)) {
            bytes.push(end);
        }
    }
    bytes.extend_from_slice(&queued.input);
    tty::set_settings(master, &quiet(settings, end))?;
    write_all(master, &bytes)?;
    settle(slave, settings, queued)
}

/// Holds output back again.
fn hold(
    master: BorrowedFd<'_>,
    slave: BorrowedFd<'_>,
    settings: &Settings,
    held: Option<Hold>,
) -> io::Result<()> {
    match held {
        None => Ok(()),
        Some(Hold::Program) => tty::flow(slave, Flow::Hold),
        Some(Hold::Typed) => {
            write_all(master, &[settings[CHARACTERS + libc::VSTOP]])?;
            for attempt in 0..40 {
                if !is(slave, PollFlags::POLLOUT)? {
                    break;
                }
                std::thread::sleep(Duration::from_micros(10 * attempt));
            }
            Ok(())
        }
    }
}

const LOCAL: usize = 12;
/// The control characters.
const CHARACTERS: usize = 17;
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
    new[CHARACTERS..36].fill(0);
    new[CHARACTERS + libc::VMIN] = least;
    new
}

/// Everything off.
fn raw(settings: &Settings) -> Settings {
    with(settings, 0, 1)
}

/// Only the line mode as it is, and no character special but those that end lines.
fn quiet(settings: &Settings, end: u8) -> Settings {
    if word(settings, LOCAL) & ICANON == 0 {
        return raw(settings);
    }
    let mut new = with(settings, ICANON | word(settings, LOCAL) & libc::IEXTEN, 0);
    for line_end in [libc::VEOL, libc::VEOL2] {
        new[CHARACTERS + line_end] = settings[CHARACTERS + line_end];
    }
    new[CHARACTERS + libc::VEOF] = end;
    new
}

/// Polling also makes the kernel deliver what it has not passed on yet.
fn is(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<bool> {
    let mut poll_fd = [PollFd::new(fd, what)];
    poll(&mut poll_fd, PollTimeout::ZERO)?;
    Ok(poll_fd[0].revents().is_some_and(|r| r.contains(what)))
}

fn drain(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while all.len() < MOST && is(fd, PollFlags::POLLIN)? {
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
    let mut attempts = 0;
    while !bytes.is_empty() {
        // The kernel keeps each piece in a buffer of its own, counts whole buffers, and takes one more as long as
        // there is any room: small pieces and a large last one fit wherever the same bytes did before.
        let piece = if bytes.len() > LAST_PIECE { PIECE } else { bytes.len() };
        match descriptor::write(fd, &bytes[..piece]) {
            Ok(n) => {
                bytes = &bytes[n..];
                attempts = 0;
            }
            // It was in there before. There is room as soon as the kernel has passed on what was written now.
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) && attempts < ATTEMPTS => {
                attempts += 1;
                poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::from(PATIENCE))?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The kernel passes input on from a worker. Waits until it has arrived, or the settings that follow
/// would meet it half-way; a few attempts, because how much counts as arrived depends on the content.
fn settle(slave: BorrowedFd<'_>, settings: &Settings, queued: &Queued) -> io::Result<()> {
    let canonical = word(settings, LOCAL) & ICANON != 0;
    let lines: usize = queued.lines.iter().map(Vec::len).sum();
    let expected = if canonical { lines } else { queued.input.len() };
    let is_there = || -> io::Result<bool> {
        let ready = is(slave, PollFlags::POLLIN)?;
        Ok((ready || queued.lines.is_empty()) && descriptor::readable(slave)? >= expected)
    };
    for attempt in 0..40 {
        if is_there()? {
            break;
        }
        std::thread::sleep(Duration::from_micros(10 * attempt));
    }
    // What follows whole lines may be in a piece of its own, and nothing tells when that is there.
    if canonical && !queued.lines.is_empty() && lines + queued.input.len() > 200 {
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
        let wanted = Queued {
            lines: vec![b"one\n".into(), b"two\n".into()],
            input: b"half".into(),
            output: b"shown".into(),
            ..Queued::default()
        };
        for _ in 0..3 {
            let queued = look(master.as_fd(), true).unwrap();
            assert_eq!(queued, wanted);
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

    #[test]
    fn ends_of_files_and_held_output_are_seen_and_stay() {
        let _turn = TERMINALS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for hold in [Hold::Program, Hold::Typed] {
            let (master, slave) = terminal();
            descriptor::write(master.as_fd(), b"no newline\x04\x04line\nrest").unwrap();
            // All of it has come once the line can be read; its echo is of no interest.
            while !is(slave.as_fd(), PollFlags::POLLIN).unwrap() {}
            drain(master.as_fd()).unwrap();
            match hold {
                Hold::Program => tty::flow(slave.as_fd(), Flow::Hold).unwrap(),
                Hold::Typed => drop(descriptor::write(master.as_fd(), b"\x13").unwrap()),
            }
            while is(slave.as_fd(), PollFlags::POLLOUT).unwrap() {}
            for _ in 0..3 {
                let queued = look(master.as_fd(), true).unwrap();
                assert_eq!(queued.lines, [b"no newline".to_vec(), Vec::new(), b"line\n".to_vec()]);
                assert_eq!((queued.input.as_slice(), queued.held), (b"rest".as_slice(), Some(hold)));
            }
            let other = if hold == Hold::Typed { Flow::LetGo } else { Flow::Hold };
            tty::flow(slave.as_fd(), other).unwrap();
            assert!(
                !is(slave.as_fd(), PollFlags::POLLOUT).unwrap(),
                "what was typed is let go by typing only"
            );
        }
    }
}
