//! Namespaces that programs make for themselves, as sandboxes do: user, net, ipc, uts and pid.
//!
//! Each is known by the inode of /proc/PID/ns/KIND at the source, and by the user namespace that owns it; user
//! namespaces are a tree below the pod's own. What is in them is asked by a helper of the engine's that enters
//! them, which the session's own processes may not be made to do. `restore/namespaces.rs` makes them anew.
//!
//! Into the pod's user namespace only the user's own id is mapped, so those below it map that one id or none,
//! and setgroups(2) is forbidden in all of them.
//!
//! Refused: mnt, cgroup and time namespaces; threads of one process in different ones; a user namespace that no
//! process is in but others are below; a pid namespace for children that has no process yet, or none any more, or
//! that one of several threads has; of net namespaces those with
//! anything but a loopback interface and its usual addresses; of ipc namespaces those with anything in them. What a
//! program set below /proc/sys/net of its own, and its packet filters, are not looked for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use roam_sys::procfs::{self, status};
use roam_sys::{descriptor, namespaces};
use serde::{Deserialize, Serialize};

use super::helper::Helper;
use super::ipc;
use super::pid_namespaces::{PidNamespace, Pids};
use super::tree::Node;
use crate::error::{Error, TRY_AGAIN};
use crate::freeze::FrozenProcess;
use crate::pod::Pod;

/// A namespace: its inode at the source, by which it is told from others. 0 is the pod's own.
pub type Id = u64;

/// A user namespace below the pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Which.
    pub id: Id,
    /// The one above it.
    pub parent: Id,
    /// What the pod's user is called in it, if it has a map.
    pub uid: Option<u32>,
    /// The same for the group.
    pub gid: Option<u32>,
}

/// A namespace that is no user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    pub id: Id,
    /// The user namespace whose capabilities count in it.
    pub owner: Id,
    /// What is in it.
    pub state: State,
}

/// What is in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Network: nothing but the loopback interface.
    Net {
        /// The interface is up.
        up: bool,
    },
    /// System V objects and POSIX message queues: none.
    Ipc,
    /// Names of the host.
    Uts {
        /// Host name.
        host: Vec<u8>,
        /// Domain name of NIS.
        domain: Vec<u8>,
    },
}

/// The namespaces that a process is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Its user namespace.
    pub user: Id,
    /// Its network.
    pub net: Id,
    /// Its System V objects and message queues.
    pub ipc: Id,
    /// Its host name.
    pub uts: Id,
    /// The pid namespace of its children to come, if that is another than its own.
    pub children: Option<Id>,
}

/// A kind of namespace as /proc/PID/ns names it, and its flag for clone(2), unshare(2) and setns(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub &'static str, pub i32);

/// User namespaces.
pub const USER: Kind = Kind("user", libc::CLONE_NEWUSER);
/// Network namespaces.
pub const NET: Kind = Kind("net", libc::CLONE_NEWNET);
/// Namespaces of System V objects and message queues.
pub const IPC: Kind = Kind("ipc", libc::CLONE_NEWIPC);
/// Namespaces of host names.
pub const UTS: Kind = Kind("uts", libc::CLONE_NEWUTS);
/// Pid namespaces.
pub const PID: Kind = Kind("pid", libc::CLONE_NEWPID);

const CHILDREN: &str = "pid_for_children";
const NOT_CARRIED: [&str; 3] = ["mnt", "cgroup", "time"];
const REMEDY: &str = "This program can't be moved yet.";

impl State {
    /// The kind that this is of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Net { .. } => NET,
            Self::Ipc => IPC,
            Self::Uts { .. } => UTS,
        }
    }
}

impl Places {
    /// All but the user namespace, in the order in which they can be entered.
    #[must_use]
    pub fn others(&self) -> [(Id, Kind); 3] {
        [(self.net, NET), (self.ipc, IPC), (self.uts, UTS)]
    }
}

/// The inode of a namespace of a process or thread.
fn inode(task: &str, kind: &str) -> io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/{task}/ns/{kind}"))?.ino())
}

/// The namespaces of a kind that is not carried, which this process does not share with the pod.
#[must_use]
pub fn not_carried(host: i32, init: Pid) -> Vec<&'static str> {
    let differs = |kind: &&&str| match (inode(&host.to_string(), kind), inode(&init.to_string(), kind)) {
        (Ok(own), Ok(pod)) => own != pod,
        // What has just ended shows none.
        _ => false,
    };
    NOT_CARRIED.iter().filter(differs).copied().collect()
}

/// Whether a thread is in another namespace than the first one of its process.
#[must_use]
pub fn is_apart(host: i32, tid: i32) -> bool {
    let kinds = NOT_CARRIED.into_iter().chain([NET.0, IPC.0, UTS.0, CHILDREN]);
    let task = format!("{host}/task/{tid}");
    kinds.into_iter().any(|kind| match (inode(&host.to_string(), kind), inode(&task, kind)) {
        (Ok(leader), Ok(thread)) => leader != thread,
        _ => false,
    })
}

/// A namespace that was found, with a process that is in it.
#[derive(Debug)]
struct Found {
    id: Id,
    owner: Id,
    kind: Kind,
    member: Member,
}

/// A process.
#[derive(Debug, Clone)]
struct Member {
    host: i32,
    pid: i32,
    name: String,
}

impl Member {
    fn refuse(&self, what: &str, reason: impl Into<String>, remedy: &str) -> Refusal {
        Refusal {
            process: self.name.clone(),
            pid: self.pid.unsigned_abs(),
            what: what.to_owned(),
            reason: reason.into(),
            remedy: remedy.to_owned(),
        }
    }
}

/// Finds the session's namespaces, process by process.
#[derive(Debug)]
pub struct Finder {
    init: Pid,
    /// Inodes of the pod's own: user, net, ipc, uts, pid.
    pod: Option<[u64; 5]>,
    users: Vec<User>,
    /// Of each user namespace: a way to it.
    members: Vec<Way>,
    others: Vec<Found>,
    pids: Pids,
    places: Vec<(i32, Places)>,
    refusals: Vec<Refusal>,
    /// Whose children go elsewhere.
    sending: Vec<(Member, Id)>,
    /// Those in pid namespaces of their own.
    nested: Vec<(Node, Member)>,
}

/// A way to a user namespace: from a namespace of a process so many owners up.
#[derive(Debug, Clone)]
struct Way {
    member: Member,
    from: Kind,
    up: u32,
}

impl Way {
    fn starts_there(&self) -> bool {
        self.from == USER && self.up == 0
    }

    fn higher(&self) -> Self {
        Self { up: self.up + 1, ..self.clone() }
    }
}

impl Finder {
    /// Of these processes, and the maps of user namespaces that no process is in.
    ///
    /// # Errors
    /// A failed call.
    pub fn of<'a>(pod: &dyn Pod, processes: impl Iterator<Item = &'a FrozenProcess>) -> Result<Self, Error> {
        let mut finder = Self::new(pod);
        for process in processes {
            finder
                .add(process.host, process.node, &process.name)
                .map_err(|e| Error::system(format!("looking at the namespaces of {}", process.name), e))?;
        }
        finder.ask_maps(pod)?;
        Ok(finder)
    }

    /// Begins with none.
    #[must_use]
    pub fn new(pod: &dyn Pod) -> Self {
        let (users, members) = (Vec::new(), Vec::new());
        Self {
            init: pod.init(),
            pod: None,
            users,
            members,
            others: Vec::new(),
            pids: Pids::default(),
            places: Vec::new(),
            refusals: Vec::new(),
            sending: Vec::new(),
            nested: Vec::new(),
        }
    }

    /// Looks at a process.
    ///
    /// # Errors
    /// If it is gone, or may not be looked at.
    pub fn add(&mut self, host: i32, node: Node, name: &str) -> io::Result<()> {
        let of = |task: &str| -> io::Result<[u64; 5]> {
            let mut all = [0; 5];
            for (place, kind) in all.iter_mut().zip([USER, NET, IPC, UTS, PID]) {
                *place = inode(task, kind.0)?;
            }
            Ok(all)
        };
        let pid = node.pid;
        let pod = match self.pod {
            Some(pod) => pod,
            None => *self.pod.insert(of(&self.init.to_string())?),
        };
        let member = Member { host, pid, name: name.to_owned() };
        if node.level.namespace != 0 {
            self.numbers(&node, &member)?;
        }
        if node.ended.is_some() {
            return Ok(());
        }
        let own = of(&host.to_string())?;
        let children = self.children(&member, own[4])?;
        if own == pod {
            self.places.push((pid, Places { children, ..Places::default() }));
            return Ok(());
        }
        let id = |at: usize| if own[at] == pod[at] { 0 } else { own[at] };
        let open = |kind: Kind| File::open(format!("/proc/{host}/ns/{}", kind.0)).map(OwnedFd::from);
        let way = |from: Kind, up: u32| Way { member: member.clone(), from, up };
        let user = self.user(open(USER)?, &way(USER, 0))?;
        for (id, kind) in [(id(1), NET), (id(2), IPC), (id(3), UTS)] {
            if id != 0 && self.others.iter().all(|found| found.id != id) {
                let owner = self.user(namespaces::owner(open(kind)?.as_fd())?, &way(kind, 1))?;
                self.others.push(Found { id, owner, kind, member: member.clone() });
            }
        }
        let places = Places { user, net: id(1), ipc: id(2), uts: id(3), children };
        if node.level.namespace != 0 {
            self.nested.push((node, member));
        }
        self.places.push((pid, places));
        Ok(())
    }

    /// Notes the pid namespaces of a process in one of its own, and what it, its group, its session and its threads
    /// are called there.
    fn numbers(&mut self, node: &Node, member: &Member) -> io::Result<()> {
        let own: OwnedFd = File::open(format!("/proc/{}/ns/pid", member.host))?.into();
        let chain = self.pid_namespace(own, member)?;
        let killed = node.ended.is_some_and(|status| ![0, libc::SIGKILL].contains(&(status & 0x7f)));
        if node.level.first && killed {
            let why =
                "it has ended by a signal, and the first process of a pid namespace does so for nobody else";
            self.refusals.push(member.refuse("the process itself", why, TRY_AGAIN));
        }
        let status = status::read(member.host)?;
        for numbers in [&status.ns_pid, &status.ns_sid, &status.ns_pgid] {
            self.pids.note(&chain, numbers);
        }
        if node.ended.is_none() {
            for tid in procfs::threads(member.host)? {
                self.pids.note(&chain, &status::read_thread(member.host, tid)?.ns_pid);
            }
        }
        Ok(())
    }

    /// Notes a pid namespace and those above it; all of them, the outermost first.
    fn pid_namespace(&mut self, namespace: OwnedFd, member: &Member) -> io::Result<Vec<Id>> {
        let id = descriptor::stat(namespace.as_fd())?.st_ino;
        if self.pod.is_some_and(|pod| pod[4] == id) {
            return Ok(Vec::new());
        }
        let mut chain = self.pid_namespace(namespaces::parent(namespace.as_fd())?, member)?;
        if self.pids.get(id).is_none() {
            // From its process's own pid namespace to this one, then to the owner.
            let owner = self.owner_of_pids(namespace.as_fd(), member)?;
            let parent = chain.last().copied().unwrap_or(0);
            let born = Places { user: owner, ..Places::default() };
            self.pids.namespaces.push(PidNamespace { id, parent, born });
        }
        chain.push(id);
        Ok(chain)
    }

    /// The pid namespace of a process's children, if it is another than its own.
    fn children(&mut self, member: &Member, own: u64) -> io::Result<Option<Id>> {
        const WHAT: &str = "the pid namespace of its children";
        let id = match inode(&member.host.to_string(), CHILDREN) {
            Ok(id) if id == own => return Ok(None),
            Ok(id) => id,
            // The kernel shows none without a process.
            Err(e)
                if e.kind() == io::ErrorKind::NotFound && inode(&member.host.to_string(), NET.0).is_ok() =>
            {
                self.refusals.push(member.refuse(WHAT, "it has no process yet", TRY_AGAIN));
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if procfs::threads(member.host)?.len() > 1 {
            let why = "it is not the one of its process, which has several threads";
            self.refusals.push(member.refuse(WHAT, why, REMEDY));
        }
        self.sending.push((member.clone(), id));
        Ok(Some(id))
    }

    fn owner_of_pids(&mut self, namespace: std::os::fd::BorrowedFd<'_>, member: &Member) -> io::Result<Id> {
        let owner = namespaces::owner(namespace)?;
        // A pid namespace is below or beside those of its user namespace's processes, so its owner is above the
        // user namespace of its process, or that itself.
        let mut up = File::open(format!("/proc/{}/ns/user", member.host)).map(OwnedFd::from)?;
        let mut way = Way { member: member.clone(), from: USER, up: 0 };
        let wanted = descriptor::stat(owner.as_fd())?.st_ino;
        while descriptor::stat(up.as_fd())?.st_ino != wanted {
            up = namespaces::parent(up.as_fd())?;
            way = way.higher();
        }
        self.user(owner, &way)
    }

    /// Whether a user namespace is this one or below it.
    fn is_below(&self, id: Id, above: Id) -> bool {
        let parent = |below: &Id| self.users.iter().find(|user| user.id == *below).map(|user| user.parent);
        std::iter::successors(Some(id), parent).any(|id| id == above)
    }

    fn owner(&self, other: Id) -> Id {
        self.others.iter().find(|found| found.id == other).map_or(0, |found| found.owner)
    }

    /// Why processes in pid namespaces of their own could not come to where they are: who is born there has rights in
    /// the owner and below only.
    fn without_rights(&self, pids: &Pids) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (node, member) in &self.nested {
            let (places, born) = (self.places(node.pid), pids.born(node.level.namespace));
            let can_enter = |id: Id| id != 0 && self.is_below(self.owner(id), born.user);
            let mut others = places.others().into_iter().zip(born.others());
            let strange = others.find(|((id, _), (born, _))| id != born && !can_enter(*id));
            let threads = || procfs::threads(member.host).map_or(1, |threads| threads.len());
            let why = if let Some(((_, kind), _)) = strange {
                format!("its {} namespace is older than its pid namespace, and not that of all in it", kind.0)
            } else if node.level.first && places.user != born.user && threads() > 1 {
                "the first process of a pid namespace has left the user namespace that owns it, and has threads"
                    .into()
            } else {
                continue;
            };
            refusals.push(member.refuse("its namespaces", why, REMEDY));
        }
        refusals
    }

    /// The pid namespaces, and the numbers in them.
    #[must_use]
    pub fn pids(&self) -> Pids {
        let mut pids = self.pids.clone();
        for at in 0..pids.namespaces.len() {
            let namespace = pids.namespaces[at];
            // What is older than the pid namespace its first process had when it was born, or has it from further up.
            let mut born = Places { user: namespace.born.user, ..pids.born(namespace.parent) };
            let is_first = |node: &Node| node.level.first && node.level.namespace == namespace.id;
            if let Some((first, _)) = self.nested.iter().find(|(node, _)| is_first(node)) {
                let places = self.places(first.pid);
                let older = |id: Id| id != 0 && !self.is_below(self.owner(id), born.user);
                let [net, ipc, uts] =
                    [(places.net, born.net), (places.ipc, born.ipc), (places.uts, born.uts)]
                        .map(|(now, inherited)| if older(now) { now } else { inherited });
                born = Places { net, ipc, uts, ..born };
            }
            pids.namespaces[at].born = born;
        }
        pids
    }

    /// Notes a user namespace and those above it, up to the pod's.
    fn user(&mut self, namespace: OwnedFd, way: &Way) -> io::Result<Id> {
        let id = descriptor::stat(namespace.as_fd())?.st_ino;
        if self.pod.is_some_and(|pod| pod[0] == id) {
            return Ok(0);
        }
        let known = match self.users.iter().position(|user| user.id == id) {
            Some(known) => known,
            None => {
                let parent = self.user(namespaces::parent(namespace.as_fd())?, &way.higher())?;
                self.users.push(User { id, parent, uid: None, gid: None });
                self.members.push(way.clone());
                self.users.len() - 1
            }
        };
        if way.starts_there() && (!self.members[known].starts_there() || self.users[known].uid.is_none()) {
            self.members[known] = way.clone();
            let read = |file: &str| procfs::read(&format!("/proc/{}/{file}", way.member.host));
            self.users[known].uid = mapped(&read("uid_map")?);
            self.users[known].gid = mapped(&read("gid_map")?);
        }
        Ok(id)
    }

    /// Asks for the maps of user namespaces that no process is in, through helpers that enter them.
    ///
    /// # Errors
    /// A failed call.
    pub fn ask_maps(&mut self, pod: &dyn Pod) -> Result<(), Error> {
        const NS_GET_USERNS: i32 = 0xb701;
        for (user, way) in self.users.iter_mut().zip(&self.members).filter(|(_, way)| !way.starts_there()) {
            let mut batch = Batch::new();
            let path = batch.c_string(format!("/proc/{}/ns/{}", way.member.pid, way.from.0).as_bytes());
            let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
            let mut file = batch.may("opening a namespace", libc::SYS_openat, &open);
            for _ in 0..way.up {
                file =
                    batch.may("looking for its owner", libc::SYS_ioctl, &[file.into(), NS_GET_USERNS.into()]);
            }
            let entered = batch.may("entering a namespace", libc::SYS_setns, &[file.into(), USER.1.into()]);
            let [uid, gid] = ["uid_map", "gid_map"].map(|name| {
                let path = batch.c_string(format!("/proc/self/{name}").as_bytes());
                let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
                let file = batch.may("opening a map", libc::SYS_openat, &open);
                let text = batch.room(256);
                (text, batch.may("reading a map", libc::SYS_read, &[file.into(), text.into(), 256.into()]))
            });
            let done = Helper::start(pod)?.run(&batch)?;
            let text = |(text, got)| {
                let len = usize::try_from(done.ret(got)).unwrap_or(0);
                mapped(&done.bytes(text)[..len])
            };
            // It may have ended while the session runs.
            if done.ret(entered) == 0 {
                (user.uid, user.gid) = (text(uid), text(gid));
            }
        }
        Ok(())
    }

    /// The user namespaces, each after the one above it.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.users.clone()
    }

    /// Where a process is.
    #[must_use]
    pub fn places(&self, pid: i32) -> Places {
        self.places.iter().find(|(known, _)| *known == pid).map(|(_, places)| *places).unwrap_or_default()
    }

    /// What of this can't be carried.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let pids = self.pids();
        let ended = self.sending.iter().filter(|(_, id)| pids.get(*id).is_none());
        let ended = ended.map(|(member, _)| {
            member.refuse("the pid namespace of its children", "it has no process any more", REMEDY)
        });
        self.refusals.iter().cloned().chain(ended).chain(self.without_rights(&pids)).collect()
    }

    /// All but user and pid namespaces, with nothing in them yet.
    #[must_use]
    pub fn others(&self) -> Vec<Namespace> {
        let empty = |kind: Kind| match kind {
            NET => State::Net { up: false },
            IPC => State::Ipc,
            _ => State::Uts { host: Vec::new(), domain: Vec::new() },
        };
        let of = |found: &Found| Namespace { id: found.id, owner: found.owner, state: empty(found.kind) };
        self.others.iter().map(of).collect()
    }

    /// Looks into all of them, through a helper that enters them.
    ///
    /// # Errors
    /// A failed call. While the session runs, what has ended meanwhile is left out.
    pub fn look_inside(&self, pod: &dyn Pod, running: bool) -> Result<Inside, Error> {
        let mut inside = Inside { pod_net: self.pod.map(|pod| pod[1]), ..Inside::default() };
        if self.others.is_empty() {
            return Ok(inside);
        }
        let mut helper = Helper::start(pod)?;
        for found in &self.others {
            if !enter(&mut helper, found)? {
                if running {
                    continue;
                }
                return Err(Error::Vanished { pid: found.member.pid, during: "the freeze" });
            }
            let state = match found.kind {
                NET => inside.net(found, &mut helper)?,
                IPC => inside.ipc(found, &mut helper)?,
                _ => names(&mut helper)?,
            };
            inside.namespaces.push(Namespace { id: found.id, owner: found.owner, state });
        }
        Ok(inside)
    }
}

/// What is in the namespaces of a session.
#[derive(Debug, Default)]
pub struct Inside {
    /// All but user namespaces.
    pub namespaces: Vec<Namespace>,
    /// What can't be carried.
    pub refusals: Vec<Refusal>,
    /// A NETLINK_SOCK_DIAG socket of each network.
    pub nets: Vec<(Id, OwnedFd)>,
    pod_net: Option<u64>,
}

impl Inside {
    /// The network of a socket. That of the pod where nobody has another.
    ///
    /// # Errors
    /// The network is none of the session's.
    pub fn net_of(&self, socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Id> {
        if self.nets.is_empty() {
            return Ok(0);
        }
        let id = descriptor::stat(namespaces::of_socket(socket)?.as_fd())?.st_ino;
        match id {
            id if Some(id) == self.pod_net => Ok(0),
            id if self.nets.iter().any(|(net, _)| *net == id) => Ok(id),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn net(&mut self, found: &Found, helper: &mut Helper) -> Result<State, Error> {
        const SIOCGIFFLAGS: i32 = 0x8913;
        const UP: u8 = libc::IFF_UP as u8;
        for (file, is_usual, what) in USUAL_NETWORK {
            let text = procfs::read(&format!("/proc/{}/net/{file}", found.member.host)).unwrap_or_default();
            if !is_usual(&String::from_utf8_lossy(&text)) {
                let why = format!("the network that it made has {what}");
                self.refusals.push(found.member.refuse("its network namespace", why, REMEDY));
            }
        }
        let mut batch = Batch::new();
        let cloexec = libc::SOCK_CLOEXEC;
        let inet = [libc::AF_INET.into(), (libc::SOCK_DGRAM | cloexec).into(), 0.into()];
        let inet = batch.must("looking into a network", libc::SYS_socket, &inet);
        // struct ifreq: a name of 16 bytes, then flags.
        let request = batch.room(40);
        batch.fill(request, 0, b"lo");
        let flags = [inet.into(), SIOCGIFFLAGS.into(), request.into()];
        batch.must("looking into a network", libc::SYS_ioctl, &flags);
        batch.may("closing", libc::SYS_close, &[inet.into()]);
        let diag =
            [libc::AF_NETLINK.into(), (libc::SOCK_RAW | cloexec).into(), libc::NETLINK_SOCK_DIAG.into()];
        let diag = batch.must("asking about sockets", libc::SYS_socket, &diag);
        let done = helper.run(&batch)?;
        let diag = descriptor::pidfd_open(Pid::from_raw(helper.host()))
            .and_then(|pidfd| descriptor::pidfd_getfd(pidfd.as_fd(), done.ret(diag) as i32))
            .map_err(|e| Error::system("asking about sockets", e))?;
        self.nets.push((found.id, diag));
        Ok(State::Net { up: done.bytes(request)[16] & UP != 0 })
    }

    fn ipc(&mut self, found: &Found, helper: &mut Helper) -> Result<State, Error> {
        let mut batch = Batch::new();
        let lists = ipc::ask(&mut batch);
        let done = helper.run(&batch)?;
        let any = lists.texts(&done).iter().any(|text| ipc::lines(text).next().is_some());
        if any || has_queues(helper)? {
            let what = "the System V objects and message queues that it made apart (ipc namespace)";
            let why = "they are carried only where all programs share them";
            let remedy = "Let the program delete them, then try again.";
            self.refusals.push(found.member.refuse(what, why, remedy));
        }
        Ok(State::Ipc)
    }
}

/// A file of /proc/PID/net, whether its text is as in a new network, and what it is about.
type Usual = (&'static str, fn(&str) -> bool, &'static str);

const USUAL_NETWORK: [Usual; 4] = [
    (
        "dev",
        |text| text.lines().skip(2).all(|line| line.trim_start().starts_with("lo:")),
        "interfaces other than loopback",
    ),
    ("route", |text| text.lines().nth(1).is_none(), "routes of its own"),
    ("fib_trie", has_loopback_only, "addresses of its own"),
    (
        "if_inet6",
        |text| text.lines().all(|line| line.starts_with("00000000000000000000000000000001 ")),
        "addresses of its own",
    ),
];

/// The text of fib_trie with no addresses but those of loopback: 127.0.0.0/8.
fn has_loopback_only(text: &str) -> bool {
    let mut addresses = text.lines().filter_map(|line| line.trim_start().strip_prefix("|-- "));
    addresses.all(|address| address.starts_with("127."))
}

/// Has the helper enter the namespace; false if its process is gone.
fn enter(helper: &mut Helper, found: &Found) -> Result<bool, Error> {
    let mut batch = Batch::new();
    let entered = enter_of(found.member.pid, found.kind, &mut batch);
    Ok(helper.run(&batch)?.ret(entered) == 0)
}

/// Adds the calls that enter a namespace of another process of the pod; whether they did, the result says.
pub fn enter_of(pid: i32, kind: Kind, batch: &mut Batch) -> RetOf {
    let path = batch.c_string(format!("/proc/{pid}/ns/{}", kind.0).as_bytes());
    let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
    let file = batch.may("opening a namespace", libc::SYS_openat, &open);
    let entered = batch.may("entering a namespace", libc::SYS_setns, &[file.into(), kind.1.into()]);
    batch.may("closing", libc::SYS_close, &[file.into()]);
    entered
}

/// Whether there are POSIX message queues where the helper is. It has mounts of its own from then on.
fn has_queues(helper: &mut Helper) -> Result<bool, Error> {
    const DOING: &str = "looking for message queues";
    /// Two entries, for the folder itself and the one above: 24 bytes each.
    const EMPTY: i64 = 48;
    let mut batch = Batch::new();
    batch.must(DOING, libc::SYS_unshare, &[libc::CLONE_NEWNS.into()]);
    let (root, folder, kind) =
        (batch.c_string(b"/"), batch.c_string(b"/dev/mqueue"), batch.c_string(b"mqueue"));
    let private = (libc::MS_REC | libc::MS_PRIVATE).into();
    batch.must(DOING, libc::SYS_mount, &[0.into(), root.into(), 0.into(), private, 0.into()]);
    batch.must(DOING, libc::SYS_mount, &[kind.into(), folder.into(), kind.into(), 0.into(), 0.into()]);
    let open = [libc::AT_FDCWD.into(), folder.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
    let open = batch.must(DOING, libc::SYS_openat, &open);
    let entries = batch.room(1024);
    let got = batch.must(DOING, libc::SYS_getdents64, &[open.into(), entries.into(), 1024.into()]);
    batch.may("closing", libc::SYS_close, &[open.into()]);
    Ok(helper.run(&batch)?.ret(got) > EMPTY)
}

fn names(helper: &mut Helper) -> Result<State, Error> {
    /// Fields of struct utsname: six of this length.
    const LENGTH: usize = 65;
    let mut batch = Batch::new();
    let all = batch.room(6 * LENGTH);
    batch.must("asking for a host name", libc::SYS_uname, &[all.into()]);
    let done = helper.run(&batch)?;
    let field = |at: usize| {
        let bytes = &done.bytes(all)[at * LENGTH..(at + 1) * LENGTH];
        bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
    };
    Ok(State::Uts { host: field(1), domain: field(5) })
}

/// What the only id is called, by the text of a map.
fn mapped(text: &[u8]) -> Option<u32> {
    String::from_utf8_lossy(text).split_ascii_whitespace().next()?.parse().ok()
}

/// What to say of a process that could not be looked at.
#[must_use]
pub fn unseen(pid: i32, name: &str, error: &io::Error) -> Refusal {
    let member = Member { host: 0, pid, name: name.to_owned() };
    member.refuse("its namespaces", format!("they can't be looked at ({error})"), TRY_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::super::pid_namespaces::Level;
    use super::super::testing::Here;
    use super::*;

    #[test]
    fn a_process_like_the_others_has_none_of_its_own() {
        let mut finder = Finder::new(&Here::new());
        let own = std::process::id() as i32;
        let level = Level::default();
        let node = Node { pid: 7, ppid: 1, pgid: 7, sid: 7, exit_signal: 17, ended: None, level };
        finder.add(own, node, "test").unwrap();
        assert_eq!(finder.places(7), Places::default());
        assert!(finder.users().is_empty() && finder.refusals().is_empty());
        assert!(finder.look_inside(&Here::new(), true).unwrap().namespaces.is_empty());
        assert!(not_carried(own, Pid::this()).is_empty() && !is_apart(own, own));
    }

    #[test]
    fn addresses_of_loopback_are_usual() {
        let trie = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     \
                    |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n";
        assert!(has_loopback_only(trie) && has_loopback_only(""));
        assert!(!has_loopback_only(&trie.replace("127.0.0.1", "10.0.0.1")));
    }
}
