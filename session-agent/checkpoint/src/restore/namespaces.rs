//! Namespaces that programs had made are made anew, each by a *sentry*: a stub outside of the session that is in it
//! and keeps it until the processes have entered.
//!
//! A sentry begins in the pod's user namespace with all rights, enters the one that is to own the new
//! namespace, and makes it, so that owners and parents are as they were. Processes are built in the pod's
//! namespaces, where their stubs have the rights to do so, and enter theirs just before their threads are
//! made; the user namespace last, because no way leads back from it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use roam_sys::batch::Batch;

use super::Restorer;
use super::stub::Stub;
use crate::error::Error;
use crate::kinds::namespaces::{self, Id, Kind, NET, Namespace, PID, Places, State, USER, User};
use crate::kinds::pid_namespaces::Level;

/// How long the end of who had a number may take to be noted.
const FREED: Duration = Duration::from_secs(2);

impl Restorer {
    /// Makes the user namespaces that are not there yet.
    pub(super) fn make_users(&mut self, users: &[User]) -> Result<(), Error> {
        for user in users {
            if self.sentries.contains_key(&user.id) {
                continue;
            }
            let mut sentry = self.sentry(user.id, user.parent)?;
            let mut batch = Batch::new();
            // What its only id is called one namespace above.
            let uid = batch.must("asking for its user", libc::SYS_geteuid, &[]);
            let gid = batch.must("asking for its group", libc::SYS_getegid, &[]);
            batch.must("making a user namespace", libc::SYS_unshare, &[USER.1.into()]);
            let done = sentry.run(&batch)?;
            let mut batch = Batch::new();
            for (file, id, above) in [("uid_map", user.uid, uid), ("gid_map", user.gid, gid)] {
                let Some(id) = id else { continue };
                let text = format!("{id} {} 1\n", done.ret(above));
                write(&format!("/proc/self/{file}"), &text, &mut batch);
            }
            if !batch.is_empty() {
                sentry.run(&batch)?;
            }
            self.stubs.insert(sentry.pid, sentry);
        }
        Ok(())
    }

    /// Makes the others that are not there yet, with nothing in them.
    pub(super) fn make_namespaces(&mut self, namespaces: &[Namespace]) -> Result<(), Error> {
        for namespace in namespaces {
            if self.sentries.contains_key(&namespace.id) {
                continue;
            }
            let mut sentry = self.sentry(namespace.id, namespace.owner)?;
            let mut batch = Batch::new();
            batch.must("making a namespace", libc::SYS_unshare, &[namespace.state.kind().1.into()]);
            sentry.run(&batch)?;
            self.stubs.insert(sentry.pid, sentry);
        }
        Ok(())
    }

    /// Gives them what was in them.
    pub(super) fn furnish(&mut self, namespaces: &[Namespace]) -> Result<(), Error> {
        for namespace in namespaces {
            let mut batch = Batch::new();
            furnish(&namespace.state, &mut batch);
            if !batch.is_empty() {
                let sentry = self.sentry_of(namespace.id)?;
                self.stub(sentry)?.run(&batch)?;
            }
        }
        Ok(())
    }

    /// A new stub, in the user namespace that owns the namespace which it is to make.
    fn sentry(&mut self, of: Id, owner: Id) -> Result<Stub, Error> {
        let number = self.free_number()?;
        let holder = self.stubs[&self.holder];
        let flags = (libc::CLONE_PARENT | libc::CLONE_FILES) as u64;
        let mut stub = self.bear(&holder, flags, 0, (number, Level::default()))?;
        self.stubs.insert(number, stub);
        self.sentries.insert(of, number);
        if owner != 0 {
            let sentry = self.sentry_of(owner)?;
            stub.enter(sentry, USER)?;
            stub.within.user = owner;
        }
        Ok(stub)
    }

    pub(super) fn sentry_of(&self, namespace: Id) -> Result<i32, Error> {
        self.sentries
            .get(&namespace)
            .copied()
            .ok_or_else(|| Error::Image("a namespace is missing".to_owned()))
    }

    /// Has a stub enter the namespaces that its process is in, as far as it is not there.
    pub(super) fn enter(&self, stub: &mut Stub, places: &Places) -> Result<(), Error> {
        for ((id, kind), (now, _)) in places.others().into_iter().zip(stub.within.others()) {
            if id != now {
                stub.enter(self.sentry_of(id)?, kind)?;
            }
        }
        if let Some(namespace) = places.children {
            stub.enter(self.first_of(namespace)?, PID)?;
        }
        if places.user != stub.within.user {
            stub.enter(self.sentry_of(places.user)?, USER)?;
        }
        stub.within = *places;
        Ok(())
    }

    /// Those in pid namespaces of their own enter their networks: no way leads back for them, so sockets of the pod's
    /// network are made before, those of theirs afterwards.
    pub(super) fn enter_own_networks(&mut self) -> Result<(), Error> {
        for (pid, net) in std::mem::take(&mut self.networks) {
            let sentry = self.sentry_of(net)?;
            let stub = self.stub(pid)?;
            stub.enter(sentry, NET)?;
            stub.within.net = net;
        }
        Ok(())
    }

    /// All have entered: the sentries have done their service.
    pub(super) fn dismiss_sentries(&mut self) -> Result<(), Error> {
        for pid in std::mem::take(&mut self.sentries).into_values() {
            if let Some(stub) = self.stubs.remove(&pid) {
                stub.exit(0)?;
            }
        }
        Ok(())
    }
}

impl Stub {
    /// Enters a namespace that another stub is in.
    pub(super) fn enter(&mut self, sentry: i32, kind: Kind) -> Result<(), Error> {
        let mut batch = Batch::new();
        let entered = namespaces::enter_of(sentry, kind, &mut batch);
        match self.run(&batch)?.ret(entered) {
            0 => Ok(()),
            error => Err(Error::system(
                format!("having process {} enter its {} namespace", self.pid, kind.0),
                std::io::Error::from_raw_os_error(-error as i32),
            )),
        }
    }

    /// Makes the next process or thread of this stub's pid namespace get this number, whoever clones it: not all
    /// have the right to give it. `free` is the pod's file tree and the number in the pod, to be waited for.
    pub(super) fn announce(&mut self, number: i32, free: Option<(&Path, i32)>) -> Result<(), Error> {
        // Who had it may not be reaped yet, and the kernel would pass it over.
        if let Some((root, number)) = free {
            let path = root.join(format!("proc/{number}"));
            let deadline = Instant::now() + FREED;
            while fs::symlink_metadata(&path).is_ok() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        let mut batch = Batch::new();
        write("/proc/sys/kernel/ns_last_pid", &(number - 1).to_string(), &mut batch);
        self.run(&batch).map(drop)
    }
}

/// Adds the calls that give a new namespace what it had.
fn furnish(state: &State, batch: &mut Batch) {
    const SIOCSIFFLAGS: i32 = 0x8914;
    match state {
        State::Net { up: false } | State::Ipc => {}
        State::Net { up: true } => {
            let what = "bringing a loopback interface up";
            let socket = [libc::AF_INET.into(), (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).into(), 0.into()];
            let socket = batch.must(what, libc::SYS_socket, &socket);
            // struct ifreq: a name of 16 bytes, then flags.
            let request = batch.room(40);
            batch.fill(request, 0, b"lo");
            batch.fill(request, 16, &((libc::IFF_UP | libc::IFF_RUNNING) as u16).to_le_bytes());
            batch.must(what, libc::SYS_ioctl, &[socket.into(), SIOCSIFFLAGS.into(), request.into()]);
            batch.must("closing", libc::SYS_close, &[socket.into()]);
        }
        State::Uts { host, domain } => {
            for (call, name) in [(libc::SYS_sethostname, host), (libc::SYS_setdomainname, domain)] {
                let text = batch.data(name);
                batch.must("naming a host", call, &[text.into(), name.len().into()]);
            }
        }
    }
}

/// Adds the calls that write a text into a file of the kernel's.
fn write(path: &str, text: &str, batch: &mut Batch) {
    const DOING: &str = "writing a setting of the kernel's";
    let path = batch.c_string(path.as_bytes());
    let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_WRONLY | libc::O_CLOEXEC).into()];
    let file = batch.must(DOING, libc::SYS_openat, &open);
    let data = batch.data(text.as_bytes());
    batch.must(DOING, libc::SYS_write, &[file.into(), data.into(), text.len().into()]);
    batch.must(DOING, libc::SYS_close, &[file.into()]);
}
