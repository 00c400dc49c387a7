//! Finding the distinct open files of the session.
//!
//! Every descriptor is duplicated into this process. Those that look alike (device, inode, position,
//! flags and whatever fdinfo says) are compared by kcmp, which orders them, so that a hundred
//! look-alikes cost a binary search each.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use roam_sys::descriptor;
use roam_sys::procfs::fdinfo::{FdInfo, Lock};
use roam_sys::unix_diag::UnixSocket;

use super::descriptors::Holder;
use super::namespace_content::Inside;
use super::namespaces::Id;
use super::open_file::{FileId, Look, Stop};
use super::unix::Message;
use super::unix_waiting::Taken;
use super::wants::{Is, Want, Wants};
use crate::error::Error;
use crate::objects::Objects;
use crate::pod::{ExternalName, Externals, Pod};

/// One descriptor of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: i32,
    /// Its open file.
    pub file: FileId,
    /// Close-on-exec.
    pub cloexec: bool,
    /// The locks that fdinfo shows for this process.
    pub locks: Vec<Lock>,
}

/// All that is known of the session's descriptors before any kind is asked.
pub struct Known<'a> {
    /// The processes.
    pub holders: &'a [Holder],
    /// The pod.
    pub pod: &'a dyn Pod,
    /// The distinct open files; their index is their [`FileId`].
    pub looks: Vec<Rc<Look>>,
    /// Which of them the keeper holds the other side of.
    pub externals: Vec<Option<ExternalName>>,
    /// The descriptors of each process.
    pub tables: Vec<Vec<Entry>>,
    /// What is in the namespaces that programs made.
    pub inside: &'a Inside,
    /// The pod's file tree.
    pub root: OwnedFd,
    /// What those have sent who wait to be accepted at unix sockets.
    pub taken: Taken,
    alike: HashMap<(u64, u64, i64, i32, String), Vec<FileId>>,
    inodes: HashMap<(u64, u64), Vec<FileId>>,
    pids: HashMap<i32, i32>,
    fdinfo: OnceCell<OwnedFd>,
    unix_sockets: OnceCell<HashMap<u64, UnixSocket>>,
    tcp: OnceCell<super::tcp::Table>,
    running: bool,
    wants: RefCell<Wants>,
    /// Some process keeps its descriptors to itself while it runs.
    unread: bool,
    /// Found in the queues of sockets.
    in_flight: HashSet<FileId>,
}

/// A capture in progress.
pub struct Capture<'a> {
    /// What was found before.
    pub known: Known<'a>,
    /// Shared memory met so far.
    pub objects: &'a mut Objects,
    /// The file under which the state of several open files is kept: the first of a pipe's ends.
    firsts: HashMap<(u64, u64), FileId>,
    /// What is queued in unix sockets.
    pub queues: HashMap<FileId, Vec<Message>>,
    /// Device and inode of each POSIX message queue.
    pub queue_inodes: Vec<(u64, u64)>,
    scratch: Option<(OwnedFd, OwnedFd, i32)>,
}

impl<'a> Capture<'a> {
    /// Begins a capture.
    pub fn new(known: Known<'a>, objects: &'a mut Objects, queues: HashMap<FileId, Vec<Message>>) -> Self {
        Self { known, objects, firsts: HashMap::new(), queues, queue_inodes: Vec::new(), scratch: None }
    }

    /// An empty pipe of at least this size, to be left empty: its reading and its writing end.
    ///
    /// # Errors
    /// As pipe2(2), or EPERM for a size that this user may not have.
    pub fn scratch_pipe(&mut self, size: i32) -> io::Result<(BorrowedFd<'_>, BorrowedFd<'_>)> {
        use nix::fcntl::OFlag;
        if self.scratch.as_ref().is_none_or(|s| s.2 < size) {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
            let size = descriptor::fcntl(write.as_fd(), libc::F_SETPIPE_SZ, size)?;
            self.scratch = Some((read, write, size));
        }
        let (read, write, _) = self.scratch.as_ref().expect("just made");
        Ok((read.as_fd(), write.as_fd()))
    }

    /// For what several open files share: `None` for the first that asks, else the first's id.
    pub fn first_of(&mut self, key: (u64, u64), me: FileId) -> Option<FileId> {
        match self.firsts.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(me);
                None
            }
        }
    }
}

/// Duplicates and compares every descriptor of these processes. With `running`, descriptors that
/// vanish meanwhile are left out.
///
/// # Errors
/// If a process can't be read.
pub fn gather<'a>(
    holders: &'a [Holder],
    pod: &'a dyn Pod,
    inside: &'a Inside,
    externals: &dyn Externals,
    running: bool,
) -> Result<Known<'a>, Error> {
    let root = open_dir(&pod.root().to_string_lossy(), libc::O_PATH)
        .map_err(|e| Error::system("opening the pod's file tree", e))?;
    let mut known = Known {
        holders,
        pod,
        inside,
        looks: Vec::new(),
        externals: Vec::new(),
        tables: Vec::with_capacity(holders.len()),
        root,
        taken: Taken::new(),
        alike: HashMap::new(),
        inodes: HashMap::new(),
        pids: holders.iter().map(|h| (h.host.as_raw(), h.pid)).collect(),
        fdinfo: OnceCell::new(),
        unix_sockets: OnceCell::new(),
        tcp: OnceCell::new(),
        running,
        wants: RefCell::default(),
        unread: false,
        in_flight: HashSet::new(),
    };
    let mut text = Vec::new();
    for (index, holder) in holders.iter().enumerate() {
        match known.read_table(index, holder, externals, &mut text, running) {
            Ok(table) => known.tables.push(table),
            Err(e) if running && gone(&e) => {
                known.unread |= e.raw_os_error() == Some(libc::EACCES);
                known.tables.push(Vec::new());
            }
            Err(e) => {
                let what = format!("reading the descriptors of process {} ({})", holder.pid, holder.name);
                return Err(Error::system(what, e));
            }
        }
    }
    Ok(known)
}

/// A duplicate of a descriptor. This process holds one for each open file of the session, so the usual
/// soft limit may be too low for it; then it is raised as far as allowed.
fn duplicate(holder: &Holder, number: i32) -> io::Result<OwnedFd> {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    match descriptor::pidfd_getfd(holder.pidfd.as_fd(), number) {
        Err(e) if e.raw_os_error() == Some(libc::EMFILE) => {
            let (_, hard) = getrlimit(RLIMIT_NOFILE)?;
            setrlimit(RLIMIT_NOFILE, hard, hard)?;
            descriptor::pidfd_getfd(holder.pidfd.as_fd(), number)
        }
        other => other,
    }
}

fn gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EACCES))
}

fn open_dir(path: &str, flags: i32) -> io::Result<OwnedFd> {
    nix::fcntl::open(
        path,
        nix::fcntl::OFlag::from_bits_retain(flags | libc::O_DIRECTORY | libc::O_CLOEXEC),
        nix::sys::stat::Mode::empty(),
    )
    .map_err(Into::into)
}

impl Known<'_> {
    fn read_table(
        &mut self,
        index: usize,
        holder: &Holder,
        externals: &dyn Externals,
        text: &mut Vec<u8>,
        running: bool,
    ) -> io::Result<Vec<Entry>> {
        let numbers = {
            let dir = open_dir(&format!("/proc/{}/fd", holder.host), libc::O_RDONLY)?;
            descriptor::list(dir.as_fd())?
        };
        let infos = open_dir(&format!("/proc/{}/fdinfo", holder.host), libc::O_RDONLY)?;
        let mut table = Vec::with_capacity(numbers.len());
        for number in numbers {
            let one = duplicate(holder, number)
                .and_then(|file| Ok((file, read_info(infos.as_fd(), number, text)?)));
            let (file, info) = match one {
                Ok(one) => one,
                Err(e) if running && gone(&e) => continue,
                Err(e) => return Err(e),
            };
            let (cloexec, locks) = (info.cloexec, info.locks.clone());
            let file = self.intern(file, info, (index, number), false, externals)?;
            table.push(Entry { number, file, cloexec, locks });
        }
        table.sort_by_key(|e| e.number);
        Ok(table)
    }

    /// The id of an open file, known already or new.
    fn intern(
        &mut self,
        file: OwnedFd,
        info: FdInfo,
        holder: (usize, i32),
        in_flight: bool,
        externals: &dyn Externals,
    ) -> io::Result<FileId> {
        let stat = descriptor::stat(file.as_fd())?;
        let key = (stat.st_dev, stat.st_ino, info.pos, info.flags, info.rest.clone());
        let alike = self.alike.entry(key).or_default();
        let mut failed = None;
        let place = alike.binary_search_by(|id| {
            let other = &self.looks[id.0 as usize].file;
            descriptor::compare_files(other.as_fd(), file.as_fd()).unwrap_or_else(|e| {
                failed = Some(e);
                std::cmp::Ordering::Less
            })
        });
        if let Some(e) = failed {
            return Err(e);
        }
        match place {
            Ok(at) => Ok(alike[at]),
            Err(at) => {
                let id = FileId(self.looks.len() as u32);
                alike.insert(at, id);
                self.inodes.entry((stat.st_dev, stat.st_ino)).or_default().push(id);
                self.externals.push(externals.identify(file.as_fd()));
                self.looks.push(Rc::new(Look::new(file, stat, info, holder, in_flight)));
                Ok(id)
            }
        }
    }

    /// The id of a descriptor that arrived in this process out of a socket's queue.
    ///
    /// # Errors
    /// If it can't be looked at.
    pub fn intern_in_flight(
        &mut self,
        file: OwnedFd,
        found_in: (usize, i32),
        externals: &dyn Externals,
    ) -> io::Result<FileId> {
        let info = self.own_info(file.as_fd())?;
        let id = self.intern(file, info, found_in, true, externals)?;
        self.in_flight.insert(id);
        Ok(id)
    }

    /// Whether a socket's queue holds this open file, as far as queues were looked into.
    #[must_use]
    pub fn is_in_flight(&self, id: FileId) -> bool {
        self.in_flight.contains(&id)
    }

    /// fdinfo, read anew through our duplicate.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn own_info(&self, file: BorrowedFd<'_>) -> io::Result<FdInfo> {
        use std::os::fd::AsRawFd;
        if self.fdinfo.get().is_none() {
            let _ = self.fdinfo.set(open_dir("/proc/self/fdinfo", libc::O_RDONLY)?);
        }
        let dir = self.fdinfo.get().expect("just set");
        read_info(dir.as_fd(), file.as_raw_fd(), &mut Vec::new())
    }

    /// Notes what a target must have for an open file.
    pub fn want(&self, look: &Look, path: Vec<u8>, is: Is) {
        let holder = &self.holders[look.holder.0];
        let (process, pid) = (holder.name.clone(), holder.pid.unsigned_abs());
        let what = format!("descriptor {}", look.holder.1);
        self.wants.borrow_mut().add(Want { process, pid, what, path, is });
    }

    /// What was noted.
    pub fn take_wants(&self) -> Vec<Want> {
        self.wants.take().list()
    }

    /// The network that a socket is of.
    ///
    /// # Errors
    /// If it is none of the session's.
    pub fn net_of(&self, look: &Look) -> Result<Id, Stop> {
        self.inside.net_of(look.file.as_fd()).map_err(|_| {
            let remedy = "Close the socket in the program, then try again.";
            Stop::cannot("it is a socket of a network namespace that no process is in", remedy)
        })
    }

    /// The session's unix sockets by inode, asked for once.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn unix_sockets(&self) -> Result<&HashMap<u64, UnixSocket>, Error> {
        if self.unix_sockets.get().is_none() {
            let failed = |e| Error::system("listing the pod's unix sockets", e);
            let mut sockets = roam_sys::unix_diag::dump(self.pod.socket_diag()).map_err(failed)?;
            for (_, diag) in &self.inside.nets {
                sockets.extend(roam_sys::unix_diag::dump(diag.as_fd()).map_err(failed)?);
            }
            let _ = self.unix_sockets.set(sockets);
        }
        Ok(self.unix_sockets.get().expect("just set"))
    }

    /// The pod's TCP sockets, asked for once.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn tcp(&self) -> Result<&super::tcp::Table, Error> {
        if self.tcp.get().is_none() {
            let _ = self.tcp.set(super::tcp::Table::of(self)?);
        }
        Ok(self.tcp.get().expect("just set"))
    }

    /// Whether the session is frozen.
    #[must_use]
    pub fn is_still(&self) -> bool {
        !self.running
    }

    /// Whether there may be descriptors that were not looked at, because the session runs: a socket carries them, or
    /// a process keeps its own to itself.
    #[must_use]
    pub fn may_be_in_flight(&self) -> bool {
        self.running
            && (self.unread || self.looks.iter().any(|look| look.info.decimal("scm_fds").unwrap_or(0) > 0))
    }

    /// The open files with this device and inode.
    #[must_use]
    pub fn of_inode(&self, inode: (u64, u64)) -> &[FileId] {
        self.inodes.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The open file with this id.
    #[must_use]
    pub fn look(&self, id: FileId) -> Rc<Look> {
        Rc::clone(&self.looks[id.0 as usize])
    }

    /// The id of an open file.
    #[must_use]
    pub fn id(&self, look: &Look) -> Option<FileId> {
        self.of_inode(look.inode())
            .iter()
            .copied()
            .find(|id| std::ptr::eq(&raw const *self.looks[id.0 as usize], look))
    }

    /// The pod's pid of a process, given this process's view of it.
    #[must_use]
    pub fn pod_pid(&self, host: i32) -> Option<i32> {
        self.pids.get(&host).copied()
    }

    /// The pod's number of a thread.
    #[must_use]
    pub fn pod_thread(&self, host: i32) -> Option<i32> {
        let status = std::fs::read_to_string(format!("/proc/{host}/status")).ok()?;
        let field = |name: &str| Some(status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace());
        self.pod_pid(field("Tgid:")?.next()?.parse().ok()?)?;
        field("NSpid:")?.nth(1)?.parse().ok()
    }

    /// The pod's number of a process group: its leader may have ended, so any member tells.
    #[must_use]
    pub fn pod_group(&self, host: i32) -> Option<i32> {
        self.pod_pid(host).or_else(|| {
            let member = self
                .holders
                .iter()
                .find(|h| nix::unistd::getpgid(Some(h.host)).is_ok_and(|group| group.as_raw() == host))?;
            let status = std::fs::read_to_string(format!("/proc/{}/status", member.host)).ok()?;
            let groups = status.lines().find_map(|l| l.strip_prefix("NSpgid:"))?;
            groups.split_whitespace().nth(1)?.parse().ok()
        })
    }

    /// stat of a path in the pod, without following a last symbolic link.
    ///
    /// # Errors
    /// As stat(2).
    pub fn stat_path(&self, path: &[u8]) -> io::Result<libc::stat> {
        descriptor::stat_at(self.root.as_fd(), &relative(path)?)
    }
}

/// A path of the pod, seen from the pod's root.
///
/// # Errors
/// For a path with a zero in it.
pub fn relative(path: &[u8]) -> io::Result<std::ffi::CString> {
    let start = path.iter().position(|&b| b != b'/').unwrap_or(path.len());
    let path = if start == path.len() { b"." } else { &path[start..] };
    std::ffi::CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn read_info(dir: BorrowedFd<'_>, number: i32, text: &mut Vec<u8>) -> io::Result<FdInfo> {
    let mut name = [0u8; 12];
    let name = decimal(number, &mut name);
    descriptor::read_at(dir, name, text)?;
    std::str::from_utf8(text)
        .ok()
        .and_then(FdInfo::parse)
        .ok_or_else(|| io::Error::other(format!("fdinfo of descriptor {number} is not understood")))
}

fn decimal(number: i32, buffer: &mut [u8; 12]) -> &CStr {
    use std::io::Write;
    let mut rest = &mut buffer[..];
    let _ = write!(rest, "{number}\0"); // eleven characters at most
    CStr::from_bytes_until_nul(buffer).expect("just ended")
}
