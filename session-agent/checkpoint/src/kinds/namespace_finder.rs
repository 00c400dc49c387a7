//! Which namespaces the processes of a session are in: found process by process, from outside.
//!
//! What no process is in any more, but others are below or owned by, is found as the owner of those.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::Batch;
use roam_sys::procfs::{self, status};
use roam_sys::{descriptor, namespaces};

use super::helper::Helper;
use super::namespaces::{
    CHILDREN, IPC, Id, Kind, Member, NET, Namespace, PID, Places, REMEDY, State, USER, UTS, User, inode,
};
use super::pid_namespaces::{PidNamespace, Pids};
use super::tree::Node;
use crate::error::{Error, TRY_AGAIN};
use crate::freeze::FrozenProcess;
use crate::pod::Pod;

/// A namespace that was found, with a process that is in it.
#[derive(Debug)]
pub(super) struct Found {
    pub id: Id,
    pub owner: Id,
    pub kind: Kind,
    pub member: Member,
}

/// Finds the session's namespaces, process by process.
#[derive(Debug)]
pub struct Finder {
    init: Pid,
    /// Inodes of the pod's own: user, net, ipc, uts, pid.
    pub(super) pod: Option<[u64; 5]>,
    users: Vec<User>,
    /// Of each user namespace: a way to it.
    members: Vec<Way>,
    pub(super) others: Vec<Found>,
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

    fn owner_of_pids(&mut self, namespace: BorrowedFd<'_>, member: &Member) -> io::Result<Id> {
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
}

/// What the only id is called, by the text of a map.
fn mapped(text: &[u8]) -> Option<u32> {
    String::from_utf8_lossy(text).split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::namespaces::{is_apart, not_carried};
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
}
