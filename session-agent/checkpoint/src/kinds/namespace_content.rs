//! What is in the namespaces that programs made, asked by a helper that enters them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::Batch;
use roam_sys::{descriptor, namespaces, procfs};

use super::helper::Helper;
use super::ipc;
use super::namespace_finder::{Finder, Found};
use super::namespaces::{IPC, Id, NET, Namespace, REMEDY, State, enter_of};
use crate::error::Error;
use crate::pod::Pod;

impl Finder {
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
    pub fn net_of(&self, socket: BorrowedFd<'_>) -> io::Result<Id> {
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
        let lists = ipc::lists(&mut |batch| helper.run(batch))?;
        let any = lists.iter().any(|text| ipc::lines(text).next().is_some());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_loopback_are_usual() {
        let trie = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     |-- 127.0.0.0\n        /8 host LOCAL\n     \
                    |-- 127.0.0.1\n        /32 host LOCAL\nLocal:\n";
        assert!(has_loopback_only(trie) && has_loopback_only(""));
        assert!(!has_loopback_only(&trie.replace("127.0.0.1", "10.0.0.1")));
    }
}
