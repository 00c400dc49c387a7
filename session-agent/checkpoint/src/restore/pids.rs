//! Processes with numbers of their own in pid namespaces that programs had made.
//!
//! The first process of such a namespace is cloned by a helper that has entered the user namespace which is to own it;
//! all that are in it are cloned by one another and have rights in that owner and below only. So the number in the
//! innermost namespace is given with clone3 (set_tid), those further out are announced by who has the right to: the
//! holder in the pod, the first process of each namespace in that one.

use roam_sys::ptrace::Tracee;

use super::Restorer;
use super::process::Building;
use super::stub::{Number, Stub};
use crate::error::Error;
use crate::kinds::namespaces::{Id, PID};
use crate::kinds::pid_namespaces::{Level, Pids};

impl Restorer {
    /// Clones a process; its stub, which is in the descriptor table of the others and has its creator's memory.
    pub(super) fn bear(
        &mut self,
        creator: &Stub,
        flags: u64,
        signal: i32,
        (pid, level): (i32, Level),
    ) -> Result<Stub, Error> {
        let (area, within) = (creator.area, creator.within);
        let born = |tracee: Tracee| Stub { tracee, host: tracee.tid(), pid, area, level, within };
        if level.namespace == 0 {
            return creator.clone_task(flags, signal, Number::Given(pid, pid)).map(born);
        }
        if level.first {
            return self.found(creator, flags, signal, (pid, level));
        }
        let elsewhere = creator.level.namespace != level.namespace;
        let mut creator = *creator;
        if elsewhere {
            creator.enter(self.first_of(level.namespace)?, PID)?;
        }
        self.announce_outside(level.namespace, pid)?;
        // A helper has none of its own, and must not have somebody else's.
        let inner = self.pids.number(level.namespace, pid).map_or_else(|| self.free_number(), Ok)?;
        let tracee = creator.clone_task(flags, signal, Number::Given(inner, pid))?;
        if elsewhere {
            creator.enter(creator.pid, PID)?;
        }
        Ok(born(tracee))
    }

    /// Makes a pid namespace with its first process.
    fn found(
        &mut self,
        creator: &Stub,
        flags: u64,
        signal: i32,
        (pid, level): (i32, Level),
    ) -> Result<Stub, Error> {
        // It is the new one's elder brother, so that both have the same parent and tell it of their end alike.
        let (number, beside) = (self.free_number()?, Level { first: false, ..creator.level });
        let mut helper = self.bear(creator, flags, signal, (number, beside))?;
        self.stubs.insert(helper.pid, helper);
        self.enter(&mut helper, &self.pids.born(level.namespace))?;
        self.announce_outside(level.namespace, pid)?;
        let new = (libc::CLONE_NEWPID | libc::CLONE_PARENT | libc::CLONE_FILES) as u64;
        let first = helper.clone_task(new, 0, Number::Given(1, pid))?;
        self.firsts.insert(level.namespace, pid);
        self.stubs.remove(&helper.pid);
        self.end(&helper)?;
        Ok(Stub { tracee: first, host: first.tid(), pid, level, ..helper })
    }

    /// A number that nobody in the session and no stub has, wherever.
    pub(super) fn free_number(&self) -> Result<i32, Error> {
        let of_node = |pid: i32| self.nodes.iter().any(|n| [n.pid, n.sid, n.pgid].contains(&pid));
        let inside = |pid: i32| self.pids.numbers.values().any(|number| *number == pid);
        (20_001..32_000)
            .rev()
            .find(|pid| !of_node(*pid) && !self.stubs.contains_key(pid) && !inside(*pid))
            .ok_or_else(|| Error::Image("all process numbers are taken".to_owned()))
    }

    /// The stub of the first process of a pid namespace, by its number in the pod.
    pub(super) fn first_of(&self, namespace: Id) -> Result<i32, Error> {
        let first = self.firsts.get(&namespace).copied();
        first.ok_or_else(|| Error::Image("a pid namespace has no first process".to_owned()))
    }

    /// Announces the number that the next task of a pid namespace gets in those above it.
    fn announce_outside(&mut self, namespace: Id, pid: i32) -> Result<(), Error> {
        let above: Vec<Id> = self.pids.above(namespace).collect();
        for namespace in above {
            self.announce_in(namespace, pid)?;
        }
        let (holder, root) = (self.holder, self.root.clone());
        self.stub(holder)?.announce(pid, Some((&root, pid)))
    }

    fn announce_in(&mut self, namespace: Id, pid: i32) -> Result<(), Error> {
        let Some(number) = self.pids.number(namespace, pid) else { return Ok(()) };
        let first = self.first_of(namespace)?;
        self.stub(first)?.announce(number, None)
    }

    /// How the next thread of a process gets its number: one that has entered its user namespace may give only those in
    /// pid namespaces that it owns.
    pub(super) fn thread_number(&mut self, one: &Building<'_>, tid: i32) -> Result<Number, Error> {
        let (level, user) = (one.layout.node.level, one.state.namespaces.user);
        if level.namespace == 0 && user == 0 {
            return Ok(Number::Given(tid, tid));
        }
        self.announce_outside(level.namespace, tid)?;
        if level.namespace == 0 {
            return Ok(Number::Announced(tid));
        }
        if user != self.pids.owner(level.namespace) {
            self.announce_in(level.namespace, tid)?;
            return Ok(Number::Announced(tid));
        }
        match self.pids.number(level.namespace, tid) {
            Some(inner) => Ok(Number::Given(inner, tid)),
            None => Err(Error::Image(format!("thread {tid} has no number in its pid namespace"))),
        }
    }

    /// Ends a temporary process; its parent takes note, or roam-init.
    pub(super) fn end(&mut self, stub: &Stub) -> Result<(), Error> {
        let parent = roam_sys::procfs::stat::read(stub.host)
            .map_err(|e| Error::system("looking for the parent of a helper", e))?
            .ppid;
        let parent = self.stubs.values().find(|other| other.host == parent).copied();
        let number = parent.map(|parent| stub.number_in(parent.level.depth)).transpose()?;
        stub.exit(0)?;
        if let (Some(parent), Some(number)) = (parent, number) {
            let wait = [number as u64, 0, libc::__WALL as u64, 0, 0, 0];
            parent.call("reaping a helper", libc::SYS_wait4, wait)?;
        }
        Ok(())
    }
}

impl Building<'_> {
    /// What something of the session is called where this process is; 0 if it can't be seen there.
    pub(super) fn number(&self, pids: &Pids, pod: i32) -> i32 {
        pids.number(self.layout.node.level.namespace, pod).unwrap_or(0)
    }
}
