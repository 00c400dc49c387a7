//! Terminals: both sides of a pseudo terminal, and what is opened as /dev/tty.
//!
//! The state of a terminal lies with the first of its open files. At restore this process opens the
//! pod's ptmx until the index is right, sets it up, and hands both sides over. Only what belongs to a
//! session, the controlling terminal and its foreground group, is done by the session's leader.
//!
//! Refused: a terminal whose master side is outside the session; another line discipline than the usual.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use roam_sys::batch::Batch;
use roam_sys::tty::{self, Ask};
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Kind, Look, OpenFileKind, Stop};
use super::paths;
use super::tty_queue::{self, Queued};
use crate::error::Error;

/// An open side of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Which side.
    pub side: Side,
    /// The index below /dev/pts.
    pub index: u32,
    /// With the first open file of a terminal: the terminal.
    pub terminal: Option<Box<Terminal>>,
}

/// How a terminal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// /dev/ptmx: whoever shows it.
    Master,
    /// /dev/pts/N: the programs in it.
    Slave,
    /// /dev/tty, by a program in it.
    Controlling,
}

/// A terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Nobody shows it any more.
    pub hung_up: bool,
    /// struct termios2.
    pub settings: Vec<u8>,
    /// struct winsize.
    pub size: [u8; 8],
    /// Locked against opening.
    pub locked: bool,
    /// Packet mode.
    pub packets: bool,
    /// Exclusive.
    pub exclusive: bool,
    /// Permission bits of the slave's node.
    pub mode: Option<u32>,
    /// The session that it controls, by its leader's pid.
    pub session: Option<i32>,
    /// The foreground process group.
    pub foreground: Option<i32>,
    /// What is under way in it.
    pub queued: Queued,
}

/// Terminals of a restore: their masters, by index, while they are set up.
#[derive(Debug, Default)]
pub struct Masters(Option<HashMap<u32, OwnedFd>>);

const REMEDY: &str = "Start the program anew in a terminal that belongs to the session.";
const SLAVES: u32 = 136;
/// N_TTY.
const USUAL: u32 = 0;
const HIGHEST: u32 = 1 << 14;

fn side(look: &Look) -> Option<Side> {
    if look.file_type() != libc::S_IFCHR || look.info.flags & libc::O_PATH != 0 {
        return None;
    }
    match (libc::major(look.stat.st_rdev), libc::minor(look.stat.st_rdev)) {
        (5, 2) => Some(Side::Master),
        (5, 0) => Some(Side::Controlling),
        (SLAVES, _) => Some(Side::Slave),
        _ => None,
    }
}

fn index(look: &Look, side: Side) -> Result<u32, Stop> {
    match side {
        Side::Slave => Ok(libc::minor(look.stat.st_rdev)),
        Side::Master => Ok(tty::ask(look.file.as_fd(), Ask::Index)
            .map_err(|e| Error::system("asking for the number of a terminal", e))?),
        Side::Controlling => match tty::ask(look.file.as_fd(), Ask::Device) {
            Ok(device) if libc::major(device.into()) == SLAVES => Ok(libc::minor(device.into())),
            _ => Err(Stop::cannot("it is the terminal of a session that has ended, or no terminal", REMEDY)),
        },
    }
}

fn master(index: u32, known: &Known<'_>) -> Option<std::rc::Rc<Look>> {
    let is = |l: &&std::rc::Rc<Look>| {
        side(l) == Some(Side::Master) && l.info.decimal("tty-index") == Some(index.into())
    };
    known.looks.iter().find(is).cloned()
}

/// The master, or `None` for a terminal that is hung up.
fn find_master(look: &Look, side: Side, known: &Known<'_>) -> Result<Option<std::rc::Rc<Look>>, Stop> {
    // Whose session has ended, or whose master has.
    if tty::settings(look.file.as_fd()).is_err_and(|e| e.raw_os_error() == Some(libc::EIO))
        && side == Side::Controlling
    {
        return Ok(None);
    }
    if side == Side::Slave {
        let ours = known.stat_path(b"/dev/pts").map_err(|e| Error::system("looking at /dev/pts", e))?;
        if look.stat.st_dev != ours.st_dev {
            return Err(Stop::cannot("it is a terminal outside the session", REMEDY));
        }
        if tty::settings(look.file.as_fd()).is_err_and(|e| e.raw_os_error() == Some(libc::EIO)) {
            return Ok(None);
        }
    }
    match master(index(look, side)?, known) {
        Some(master) => Ok(Some(master)),
        None => Err(Stop::cannot("the terminal is shown by a program outside the session", REMEDY)),
    }
}

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        side(look).is_some()
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        let side = side(look).ok_or_else(paths::lost)?;
        let Some(master) = find_master(look, side, known)? else { return Ok(()) };
        match tty::ask(master.file.as_fd(), Ask::Discipline) {
            Ok(discipline) if discipline != USUAL => {
                Err(Stop::cannot(format!("its line discipline is {discipline}"), REMEDY))
            }
            _ => Ok(()),
        }
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let side = side(look).ok_or_else(paths::lost)?;
        let me = at.known.id(look).ok_or_else(paths::lost)?;
        let Some(master) = find_master(look, side, &at.known)? else {
            // It has no number any more, and nothing to share.
            return Ok(Self { side, index: 0, terminal: Some(Box::new(Terminal::hung_up())) });
        };
        let index = index(look, side)?;
        // Indexes are no inodes; the device of none keeps them apart from all that are.
        let terminal = match at.first_of((u64::MAX, index.into()), me) {
            Some(_) => None,
            None => Some(Box::new(terminal(&master, index, &at.known)?)),
        };
        Ok(Self { side, index, terminal })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let flags = at.file(id)?.flags & paths::REOPEN;
        let failed = |e| Error::system(format!("opening the terminal {}", self.index), e);
        if at.masters.0.is_none() {
            at.masters = Masters(Some(open_all(at)?));
        }
        if self.is_hung_up() {
            let (_, master) = open_master(at)?;
            tty::set_lock(master.as_fd(), false).map_err(failed)?;
            let slave = tty::open_slave(master.as_fd(), flags).map_err(failed)?;
            drop(master);
            return at.import(slave.as_fd(), at.slot(id));
        }
        let masters = at.masters.0.as_ref().and_then(|m| m.get(&self.index));
        let master = masters.ok_or_else(|| Error::Image("a terminal is missing".into()))?;
        let file = match self.side {
            Side::Master => master.try_clone().map_err(failed)?,
            // /dev/tty takes this place when the session has its terminal.
            Side::Slave | Side::Controlling => tty::open_slave(master.as_fd(), flags).map_err(failed)?,
        };
        at.import(file.as_fd(), at.slot(id))
    }

    fn connect(&self, _id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let Some((terminal, session)) = self.terminal.as_ref().and_then(|t| Some((t, t.session?))) else {
            return Ok(());
        };
        if !at.has_process(session) {
            return Ok(());
        }
        let failed = |e| Error::system(format!("opening the terminal {}", self.index), e);
        let masters = at.masters.0.as_ref().and_then(|m| m.get(&self.index));
        let master = masters.ok_or_else(|| Error::Image("a terminal is missing".into()))?;
        let slave = tty::open_slave(master.as_fd(), libc::O_RDWR).map_err(failed)?;
        let slot = at.extra_slot()?;
        at.import(slave.as_fd(), slot)?;
        let mut batch = Batch::new();
        let take = [slot.into(), libc::TIOCSCTTY.into(), 0u32.into()];
        batch.must("taking a session's controlling terminal", libc::SYS_ioctl, &take);
        if let Some(group) = terminal.foreground.and_then(|group| at.number(session, group)) {
            let group = batch.data(&group.to_ne_bytes());
            let set = [slot.into(), libc::TIOCSPGRP.into(), group.into()];
            // The group may have no process any more.
            batch.may("setting the foreground group", libc::SYS_ioctl, &set);
        }
        at.run(Some(session), &batch).map(drop)
    }

    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        if self.side == Side::Controlling {
            let slot = at.slot(id);
            let session = at.image.files.iter().find_map(|f| match &f.kind {
                Kind::Terminal(s) if s.index == self.index => s.terminal.as_ref()?.session,
                _ => None,
            });
            if let Some(session) = session.filter(|&s| at.has_process(s)) {
                let flags = (at.file(id)?.flags & paths::REOPEN) | libc::O_NOCTTY | libc::O_CLOEXEC;
                let mut batch = Batch::new();
                let path = batch.c_string(b"/dev/tty");
                let open = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0u32.into()];
                let fd = batch.must("opening /dev/tty", libc::SYS_openat, &open);
                super::build::place(&mut batch, fd, slot);
                at.run(Some(session), &batch)?;
            }
        }
        // From then on nobody can open it, so it waits for the last of its files.
        let of_it = |f: &(usize, &State)| f.1.index == self.index && !f.1.is_hung_up();
        let files = at.image.files.iter().enumerate().filter_map(|(i, f)| match &f.kind {
            Kind::Terminal(state) => Some((i, state)),
            _ => None,
        });
        let files: Vec<(usize, &State)> = files.filter(of_it).collect();
        if files.last().is_some_and(|(i, _)| *i == id.0 as usize)
            && files.iter().any(|(_, s)| s.terminal.as_ref().is_some_and(|t| t.exclusive))
            && let Some((slave, _)) = files.iter().find(|(_, s)| s.side == Side::Slave)
        {
            let slot = at.slot(FileId(*slave as u32));
            at.batch(0)?.may("TIOCEXCL", libc::SYS_ioctl, &[slot.into(), libc::TIOCEXCL.into()]);
        }
        Ok(())
    }
}

impl State {
    fn is_hung_up(&self) -> bool {
        self.terminal.as_ref().is_some_and(|t| t.hung_up)
    }
}

impl Terminal {
    fn hung_up() -> Self {
        Self {
            hung_up: true,
            settings: Vec::new(),
            size: [0; 8],
            locked: false,
            packets: false,
            exclusive: false,
            mode: None,
            session: None,
            foreground: None,
            queued: Queued::default(),
        }
    }
}

fn terminal(master: &Look, index: u32, known: &Known<'_>) -> Result<Terminal, Error> {
    let fd = master.file.as_fd();
    let failed = |e| Error::system(format!("reading the terminal {index}"), e);
    let slave = known
        .looks
        .iter()
        .find(|l| l.file_type() == libc::S_IFCHR && l.stat.st_rdev == libc::makedev(SLAVES, index));
    let exclusive = slave.filter(|s| tty::ask(s.file.as_fd(), Ask::Exclusive).is_ok_and(|on| on != 0));
    // Looking opens it once more.
    if let Some(slave) = exclusive {
        tty::set_exclusive(slave.file.as_fd(), false).map_err(failed)?;
    }
    let queued = tty_queue::look(fd, slave.is_some()).map_err(failed);
    if let Some(slave) = exclusive {
        tty::set_exclusive(slave.file.as_fd(), true).map_err(failed)?;
    }
    let queued = queued?;
    let ask = |what| tty::ask(fd, what).unwrap_or(0);
    Ok(Terminal {
        hung_up: false,
        settings: tty::settings(fd).map_err(failed)?.to_vec(),
        size: tty::size(fd).map_err(failed)?,
        locked: ask(Ask::Locked) != 0,
        packets: ask(Ask::Packets) != 0,
        exclusive: exclusive.is_some(),
        mode: slave.map(|s| s.stat.st_mode & 0o777),
        session: known.pod_pid(ask(Ask::Session) as i32),
        foreground: known.pod_group(ask(Ask::Foreground) as i32),
        queued,
    })
}

fn open_master(at: &Build<'_>) -> Result<(u32, OwnedFd), Error> {
    let failed = |e| Error::system("opening a terminal of the pod", e);
    let master: OwnedFd =
        paths::open_in(&at.pod.root(), b"/dev/pts/ptmx", libc::O_RDWR).map_err(failed)?.into();
    roam_sys::descriptor::fcntl(master.as_fd(), libc::F_SETFL, 0).map_err(failed)?;
    Ok((tty::ask(master.as_fd(), Ask::Index).map_err(failed)?, master))
}

/// Opens and sets up every terminal of the image. New ones get the lowest free index, so that all up
/// to the highest are opened and those between are given back.
fn open_all(at: &Build<'_>) -> Result<HashMap<u32, OwnedFd>, Error> {
    let mut wanted: HashMap<u32, &Terminal> = HashMap::new();
    for file in &at.image.files {
        if let Kind::Terminal(State { index, terminal: Some(terminal), .. }) = &file.kind
            && !terminal.hung_up
        {
            wanted.insert(*index, terminal);
        }
    }
    let mut masters = HashMap::new();
    let Some(&highest) = wanted.keys().max() else { return Ok(masters) };
    if highest > HIGHEST {
        return Err(Error::Image(format!("there is no terminal {highest}")));
    }
    let mut others = Vec::new();
    while masters.len() < wanted.len() {
        let (index, master) = open_master(at)?;
        match wanted.get(&index) {
            Some(terminal) => {
                set_up(terminal, master.as_fd())
                    .map_err(|e| Error::system(format!("setting the terminal {index} up"), e))?;
                masters.insert(index, master);
            }
            None if index > highest => {
                let missing = wanted.keys().find(|i| !masters.contains_key(i)).unwrap_or(&highest);
                return Err(Error::Image(format!("the terminal {missing} is taken in this pod")));
            }
            None => others.push(master),
        }
    }
    Ok(masters)
}

fn set_up(terminal: &Terminal, master: std::os::fd::BorrowedFd<'_>) -> std::io::Result<()> {
    let settings: tty::Settings =
        terminal.settings[..].try_into().map_err(|_| std::io::Error::other("its settings are damaged"))?;
    tty::set_lock(master, false)?;
    tty::set_size(master, &terminal.size)?;
    let slave = match terminal.mode {
        Some(mode) => {
            let slave = tty::open_slave(master, libc::O_RDWR)?;
            let mode = nix::sys::stat::Mode::from_bits_truncate(mode);
            nix::sys::stat::fchmod(&slave, mode)?;
            Some(slave)
        }
        None => None,
    };
    tty_queue::put(master, &settings, terminal.packets, &terminal.queued)?;
    drop(slave);
    tty::set_lock(master, terminal.locked)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Session, TERMINALS};
    use super::*;
    use roam_sys::descriptor;

    #[test]
    fn settings_size_and_queues_come_back() {
        let _turn = TERMINALS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pty = nix::pty::openpty(None, None).unwrap();
        let mut settings = tty::settings(pty.master.as_fd()).unwrap();
        settings[12] &= !(libc::ECHO as u8);
        settings[17 + libc::VINTR] = 7;
        tty::set_settings(pty.master.as_fd(), &settings).unwrap();
        tty::set_size(pty.master.as_fd(), &[37, 0, 113, 0, 0, 0, 0, 0]).unwrap();
        descriptor::write(pty.master.as_fd(), b"whole line\nhalf").unwrap();
        descriptor::write(pty.slave.as_fd(), b"printed").unwrap();
        let mut session = Session::of(&[pty.master.as_fd(), pty.slave.as_fd()]);
        // Undone at the source it is all there, too.
        assert_eq!(descriptor::readable(pty.slave.as_fd()).unwrap(), 11);
        session.end_source();
        drop(pty);
        session.round_trip();
        assert_eq!(session.read(0, 100), b"printed");
        assert_eq!(session.read(1, 100), b"whole line\n");
        session.write(0, b" a line\n");
        assert_eq!(session.read(1, 100), b"half a line\n");
    }

    #[test]
    fn a_slave_whose_master_is_outside_is_refused() {
        let _turn = TERMINALS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pty = nix::pty::openpty(None, None).unwrap();
        let refusals = Session::refusals(&[pty.slave.as_fd()]);
        assert!(refusals[0].to_string().contains("outside the session"), "{refusals:?}");
    }

    #[test]
    fn a_terminal_that_nobody_shows_stays_hung_up() {
        let _turn = TERMINALS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pty = nix::pty::openpty(None, None).unwrap();
        drop(pty.master);
        let mut session = Session::of(&[pty.slave.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 10), b"");
    }
}
