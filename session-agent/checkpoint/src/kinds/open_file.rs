//! An open file of whatever kind: the one table of kinds, and what every kind must know to do.
//!
//! A new kind of open file is one file beside this one, one row in [`kinds!`] and one test program.
//! The order of the rows matters only where two kinds match the same file: the first wins.

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};

use roam_sys::descriptor;
use roam_sys::procfs::fdinfo::FdInfo;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::gather::{Capture, Known};
use super::socket_options::Filter;
use crate::error::Error;

/// An open file of the image: its index in `Descriptors::files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// An open file as a capture finds it.
#[derive(Debug)]
pub struct Look {
    /// A duplicate in this process.
    pub file: OwnedFd,
    /// fstat of it.
    pub stat: libc::stat,
    /// What fdinfo tells.
    pub info: FdInfo,
    /// Who holds it: index of the process, and its number there. The first met, if several do.
    pub holder: (usize, i32),
    /// If it was found in flight inside a socket, there is no number.
    pub in_flight: bool,
    link: OnceCell<Vec<u8>>,
}

impl Look {
    /// Puts together what is known.
    pub(super) fn new(
        file: OwnedFd,
        stat: libc::stat,
        info: FdInfo,
        holder: (usize, i32),
        in_flight: bool,
    ) -> Self {
        Self { file, stat, info, holder, in_flight, link: OnceCell::new() }
    }

    /// The type bits of its mode: S_IFREG and so on; 0 for what has no inode of its own.
    pub fn file_type(&self) -> u32 {
        self.stat.st_mode & libc::S_IFMT
    }

    /// Where its link in /proc leads; empty if that can't be read.
    pub fn link(&self) -> &[u8] {
        self.link.get_or_init(|| descriptor::link(self.file.as_fd()).unwrap_or_default())
    }

    /// True for a kernel object without an inode of its own, of this name.
    pub fn is_anonymous(&self, name: &str) -> bool {
        self.file_type() == 0 && self.link().strip_prefix(b"anon_inode:") == Some(name.as_bytes())
    }

    /// Device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Opened with O_PATH: only a place in the file tree, whatever lies there.
    pub fn is_place(&self) -> bool {
        self.info.flags & libc::O_PATH != 0
    }

    /// Opened for reading.
    pub fn reads(&self) -> bool {
        matches!(self.info.flags & libc::O_ACCMODE, libc::O_RDONLY | libc::O_RDWR)
            && self.info.flags & libc::O_PATH == 0
    }

    /// Opened for writing.
    pub fn writes(&self) -> bool {
        matches!(self.info.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
            && self.info.flags & libc::O_PATH == 0
    }
}

/// Why a kind stops.
#[derive(Debug)]
pub enum Stop {
    /// It can't be carried.
    Cannot {
        /// Without a full stop.
        reason: String,
        /// A sentence.
        remedy: String,
    },
    /// Something failed.
    Failed(Error),
}

impl Stop {
    /// It can't be carried, for this reason (no full stop), and this helps (a sentence).
    pub fn cannot(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Cannot { reason: reason.into(), remedy: remedy.into() }
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

/// What a kind of open file can do.
pub trait OpenFileKind: Sized {
    /// Is this open file of this kind?
    fn matches(look: &Look) -> bool;

    /// Says what can be told already while the session runs.
    fn check(look: &Look, known: &Known) -> Result<(), Stop>;

    /// Takes its state. The session is frozen; nothing may be left changed.
    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop>;

    /// Makes it anew in its slot. Files of lower ids are made already.
    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error>;

    /// All files are made: what needs others, such as filling queues.
    fn connect(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error>;

    /// All files are connected: what must come last, such as shutting directions down.
    fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error>;
}

macro_rules! kinds {
    ($($(#[$doc:meta])+ $variant:ident => $state:ty,)+) => {
        /// The kind of an open file, with its state.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[$doc])+ $variant($state),)+
        }

        impl Kind {
            /// Finds the kind and asks it.
            pub(super) fn check(look: &Look, known: &Known) -> Result<(), Stop> {
                $(if <$state as OpenFileKind>::matches(look) {
                    return <$state as OpenFileKind>::check(look, known);
                })+
                Err(unknown(look))
            }

            /// Finds the kind and captures.
            pub(super) fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
                $(if <$state as OpenFileKind>::matches(look) {
                    return Ok(Self::$variant(<$state as OpenFileKind>::capture(look, at)?));
                })+
                Err(unknown(look))
            }

            pub(super) fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
                match self { $(Self::$variant(state) => state.make(id, at),)+ }
            }

            pub(super) fn connect(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
                match self { $(Self::$variant(state) => state.connect(id, at),)+ }
            }

            pub(super) fn finish(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
                match self { $(Self::$variant(state) => state.finish(id, at),)+ }
            }
        }
    };
}

kinds! {
    /// A descriptor whose other side the keeper holds.
    External => super::external::State,
    /// An event counter.
    EventFd => super::eventfd::State,
    /// A timer.
    TimerFd => super::timerfd::State,
    /// A receiver of signals.
    SignalFd => super::signalfd::State,
    /// A handle of a process.
    PidFd => super::pidfd::State,
    /// A set of files to wait for.
    Epoll => super::epoll::State,
    /// A pipe or FIFO.
    Pipe => super::pipe::State,
    /// A unix socket.
    Unix => super::unix::State,
    /// A netlink socket.
    Netlink => super::netlink::State,
    /// A TCP socket.
    Tcp => super::tcp::State,
    /// A UDP socket.
    Udp => super::udp::State,
    /// A socket of the network of another protocol.
    Inet => super::inet::State,
    /// A watcher of files.
    Inotify => super::inotify::State,
    /// A POSIX message queue.
    MessageQueue => super::message_queue::State,
    /// A file that lies in memory only: memfd, unlinked files.
    Memory => super::memory_file::State,
    /// A handle of a namespace.
    Namespace => super::namespace_file::State,
    /// A file that the kernel makes up: /proc, /sys.
    Kernel => super::kernel_file::State,
    /// A regular file.
    Regular => super::regular::State,
    /// A directory.
    Directory => super::directory::State,
    /// A side of a terminal.
    Terminal => super::terminal::State,
    /// A device node.
    Device => super::device::State,
}

impl Kind {
    /// The packet filter of a socket, which must not see what is sent while sockets are made.
    pub(super) fn filter(&self) -> Option<&Filter> {
        match self {
            Self::Unix(socket) => socket.filter.as_ref(),
            Self::Tcp(socket) => socket.filter.as_ref(),
            Self::Udp(socket) => socket.filter.as_ref(),
            _ => None,
        }
    }
}

fn unknown(look: &Look) -> Stop {
    let link = String::from_utf8_lossy(look.link()).into_owned();
    Stop::cannot(
        format!("open files of this kind can't be carried yet ({link})"),
        "Close it in the program, then try again.",
    )
}
