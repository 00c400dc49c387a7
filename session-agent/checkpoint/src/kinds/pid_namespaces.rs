//! Pid namespaces that programs make: who is in which, and what everything is called there.
//!
//! A process in such a namespace has a number in it and in each one above, up to the pod's. The pod's number is
//! what the engine knows it by; [`Pids`] tells the others, also of groups, sessions and threads. What a process
//! itself is asked or told by injected calls is in its own numbering.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;

use roam_sys::procfs::status::Status;
use serde::{Deserialize, Serialize};

use super::namespaces::{Id, Places};

/// Where a process is in the tree of pid namespaces; the default is the pod's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Its pid namespace.
    pub namespace: Id,
    /// How far that is below the pod's.
    pub depth: u32,
    /// It is the first process of that namespace, whose end is the end of all in it.
    pub first: bool,
}

/// A pid namespace below the pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidNamespace {
    /// Which.
    pub id: Id,
    /// The one above it.
    pub parent: Id,
    /// The other namespaces that its processes are born in; the user namespace is its owner.
    pub born: Places,
}

/// The pid namespaces of a session, each after the one above it, and the numbers in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    /// The namespaces.
    pub namespaces: Vec<PidNamespace>,
    /// By namespace and number in the pod: the number there.
    pub numbers: BTreeMap<(Id, i32), i32>,
}

impl Level {
    /// Of a process, as the keeper sees it.
    ///
    /// # Errors
    /// If it is gone.
    pub fn of(host: i32, status: &Status) -> io::Result<Self> {
        let depth = status.ns_pid.len().saturating_sub(2);
        if depth == 0 {
            return Ok(Self::default());
        }
        let namespace = std::fs::metadata(format!("/proc/{host}/ns/pid"))?.ino();
        Ok(Self { namespace, depth: depth as u32, first: status.ns_pid.last() == Some(&1) })
    }

    /// The order in which processes can end one after the other: the first of a namespace waits for all others.
    #[must_use]
    pub fn ending(&self) -> (std::cmp::Reverse<u32>, bool) {
        (std::cmp::Reverse(self.depth), self.first)
    }

    /// The number, in this namespace, of somebody in it or below, from all numbers outermost first, as the keeper
    /// sees them.
    #[must_use]
    pub fn number(&self, numbers: &[i32]) -> Option<i32> {
        numbers.get(self.depth as usize + 1).copied()
    }
}

impl Pids {
    /// Notes what something is called: `numbers` begin with the keeper's and the pod's; `namespaces` are those
    /// that follow.
    pub fn note(&mut self, namespaces: &[Id], numbers: &[i32]) {
        let Some((pod, inner)) = numbers.get(1..).and_then(<[i32]>::split_first) else { return };
        for (namespace, number) in namespaces.iter().zip(inner).filter(|(_, number)| **number > 0) {
            self.numbers.insert((*namespace, *pod), *number);
        }
    }

    /// What is called `pod` in the pod, in this namespace; none if it can't be seen there.
    #[must_use]
    pub fn number(&self, namespace: Id, pod: i32) -> Option<i32> {
        if namespace == 0 { Some(pod) } else { self.numbers.get(&(namespace, pod)).copied() }
    }

    /// The namespace with this id.
    #[must_use]
    pub fn get(&self, id: Id) -> Option<&PidNamespace> {
        self.namespaces.iter().find(|namespace| namespace.id == id)
    }

    /// The user namespace in which the processes of a pid namespace begin: its owner.
    #[must_use]
    pub fn owner(&self, id: Id) -> Id {
        self.born(id).user
    }

    /// The other namespaces in which they begin; of the pod's, the pod's.
    #[must_use]
    pub fn born(&self, id: Id) -> Places {
        self.get(id).map_or_else(Places::default, |namespace| namespace.born)
    }

    /// The namespaces above this one, the pod's left out.
    pub fn above(&self, id: Id) -> impl Iterator<Item = Id> {
        std::iter::successors(self.get(id), |below| self.get(below.parent))
            .skip(1)
            .map(|namespace| namespace.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_known_by_those_of_the_pod() {
        let inner = |id, parent| PidNamespace { id, parent, born: Places::default() };
        let mut pids = Pids { namespaces: vec![inner(5, 0), inner(6, 5)], ..Pids::default() };
        pids.note(&[5, 6], &[900, 40, 7, 1]);
        pids.note(&[5, 6], &[901, 41, 8, 0]);
        assert_eq!([0, 5, 6].map(|id| pids.number(id, 40)), [Some(40), Some(7), Some(1)]);
        assert_eq!(pids.number(6, 41), None, "it can't be seen from within");
        assert_eq!(pids.above(6).collect::<Vec<_>>(), [5]);
        let level = Level { namespace: 5, depth: 1, first: false };
        assert_eq!(level.number(&[900, 40, 7, 1]), Some(7));
        assert!(level.ending() > Level { namespace: 6, depth: 2, first: true }.ending());
        assert!(level.ending() < Level { first: true, ..level }.ending());
    }
}
