//! Memory on its way: where mappings lie ([`Layout`]), and who takes pages ([`PageSink`]).

use roam_sys::runs::{Run, push};
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::error::Error;
use crate::kinds::memory_traits::Traits;
use crate::kinds::namespaces::{Namespace, User};
use crate::kinds::pid_namespaces::Pids;
use crate::kinds::private_files::PrivateFile;
use crate::kinds::tree::Node;
use crate::objects::{Object, ObjectId};

/// Size of a page in bytes. x86-64 has no other base size.
pub const PAGE: u64 = 4096;

/// An address space that pages belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Space {
    /// Private memory of the process with this pod pid; addresses are its own.
    Process(i32),
    /// A shared object; addresses are offsets into it.
    Object(ObjectId),
}

/// A file that is mapped, known by its path and content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappedFile {
    /// Absolute path in the pod.
    pub path: Vec<u8>,
    /// What it contains.
    pub content: Content,
    /// Its content as it comes along, to be mapped where the file is another one: the session's view stays
    /// what it was, as if the file had been replaced while it ran.
    pub stand_in: Option<ObjectId>,
}

/// What stands behind a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// Nothing: private anonymous memory.
    Anonymous,
    /// A file, by its index in [`Layout::files`]; for private mappings, written pages come as pages.
    File {
        /// Index into [`Layout::files`].
        file: u32,
        /// Offset in bytes.
        offset: u64,
    },
    /// A shared object.
    Object {
        /// Which.
        object: ObjectId,
        /// Offset in bytes.
        offset: u64,
    },
    /// What was the source kernel's vdso; jumps to the target's own are put there.
    Jumps,
    /// A ring of asynchronous I/O, which comes with its process.
    Ring,
}

/// One mapping of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// PROT_* bits.
    pub prot: i32,
    /// MAP_SHARED.
    pub shared: bool,
    /// What else was asked for.
    pub traits: Traits,
    /// What stands behind it.
    pub backing: Backing,
}

impl Mapping {
    /// What stands behind the page at `address`, which must lie within.
    #[must_use]
    pub fn backing_at(&self, address: u64) -> Backing {
        let by = address - self.start;
        match &self.backing {
            Backing::File { file, offset } => Backing::File { file: *file, offset: offset + by },
            Backing::Object { object, offset } => Backing::Object { object: *object, offset: offset + by },
            same @ (Backing::Anonymous | Backing::Jumps | Backing::Ring) => same.clone(),
        }
    }

    /// Whether the other is made like this one at an address that lies in both.
    #[must_use]
    pub fn is_same_at(&self, other: &Self, address: u64) -> bool {
        self.shared == other.shared
            && self.traits.made_like(&other.traits)
            && self.backing_at(address) == other.backing_at(address)
    }
}

/// Where a child can have pages of its parent's: both have the same private memory there.
#[must_use]
pub fn inheritable(parent: &[Mapping], child: &[Mapping]) -> Vec<Run> {
    let private = |m: &&Mapping| !m.shared && m.backing != Backing::Jumps;
    let mut runs = Vec::new();
    let mut first = 0;
    for new in child.iter().filter(private) {
        while parent.get(first).is_some_and(|old| old.end <= new.start) {
            first += 1;
        }
        for old in parent[first..].iter().take_while(|old| old.start < new.end).filter(private) {
            let (start, end) = (old.start.max(new.start), old.end.min(new.end));
            if old.is_same_at(new, start) {
                push(&mut runs, Run { start, end });
            }
        }
    }
    runs
}

/// The mappings of one process, ascending and disjoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLayout {
    /// Its place in the tree.
    pub node: Node,
    /// The process's name, for refusals.
    pub name: String,
    /// Its mappings; none for a zombie.
    pub mappings: Vec<Mapping>,
}

/// The processes and their mappings at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Every process, parents before children.
    pub processes: Vec<ProcessLayout>,
    /// The files that mappings refer to.
    pub files: Vec<MappedFile>,
    /// The shared objects that mappings and descriptors refer to.
    pub objects: Vec<Object>,
    /// The files of the pod's own folders; known when the session is frozen.
    pub private: Vec<PrivateFile>,
    /// User namespaces below the pod's, each after the one above it.
    pub users: Vec<User>,
    /// Network, ipc and uts namespaces; what is in them is known when the session is frozen.
    pub namespaces: Vec<Namespace>,
    /// Pid namespaces below the pod's, and the numbers in them.
    pub pids: Pids,
}

/// What a round of pages was like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStats {
    /// Pages sent.
    pub pages: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// Whoever takes memory: a file that is written, a lane to another machine, or a [`crate::Restorer`].
pub trait PageSink {
    /// The processes and mappings as they are now. Pages that follow lie within them; pages sent before
    /// stay where the mapping is the same.
    ///
    /// # Errors
    /// If it can't be taken; the caller gives up.
    fn layout(&mut self, layout: &Layout) -> Result<(), Error>;

    /// Whole pages from this address on.
    ///
    /// # Errors
    /// If they can't be taken; the caller gives up.
    fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error>;

    /// These pages are as if never touched: forget what was sent for them.
    ///
    /// # Errors
    /// If it can't be done; the caller gives up.
    fn forget(&mut self, space: Space, address: u64, len: u64) -> Result<(), Error>;

    /// These pages of a process that is new are what was sent of its parent's: it is to have them as if it had just
    /// been forked. Ascending, in what [`inheritable`] says, and before anything else of that process.
    ///
    /// # Errors
    /// If they can't be had; the caller gives up.
    fn inherited(&mut self, pid: i32, from: i32, address: u64, len: u64) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_alike_and_private_is_inheritable() {
        let traits = Traits::default;
        let map = |start: u64, end: u64, backing: Backing| Mapping {
            start: start << 12,
            end: end << 12,
            prot: 3,
            shared: false,
            traits: traits(),
            backing,
        };
        let file = |offset: u64| Backing::File { file: 1, offset: offset << 12 };
        let run = |start: u64, end: u64| Run { start: start << 12, end: end << 12 };
        let parent = [
            map(10, 20, Backing::Anonymous),
            map(20, 30, Backing::Anonymous),
            map(40, 50, file(0)),
            map(60, 62, Backing::Jumps),
            Mapping { shared: true, ..map(70, 80, Backing::Anonymous) },
        ];
        // The heap grew, a part was protected, the file is mapped from another place on in its second half.
        let child = [
            Mapping { prot: 1, ..map(15, 18, Backing::Anonymous) },
            map(18, 35, Backing::Anonymous),
            map(42, 45, file(2)),
            map(45, 50, file(6)),
            map(60, 62, Backing::Jumps),
            Mapping { shared: true, ..map(70, 80, Backing::Anonymous) },
        ];
        assert_eq!(inheritable(&parent, &child), [run(15, 30), run(42, 45)]);
        assert_eq!(inheritable(&parent, &[]), []);
        assert_eq!(inheritable(&[], &child), []);
    }
}
