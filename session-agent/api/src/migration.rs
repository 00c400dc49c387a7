//! What two keepers say to each other during a move (DESIGN §7), and the pieces a session is made of
//! on its way, also into a file.
//!
//! ```text
//! source                                     target
//!   | Offer ----------------------------------> |  checks, makes the pod
//!   | <------------------- Accepted or Refused  |
//!   | Item … (rounds of pages) ---------------> |  straight into the stubs
//!   | Item … (the rest, frozen), Sealed ------> |  builds
//!   | <--------------------- Prepared or Failed |  nothing runs
//!   | Commit (after "gone" is in the journal)-> |
//!   | <------------------------------ Activated |  runs
//! ```
//! A lane that breaks before `Prepared` undoes the move at both ends. From `Prepared` on the target
//! keeps its copy; after a break the source opens a lane again and begins with [`ToTarget::Query`].

use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::keeper::Identity;

/// The longest piece of bytes in one [`Item`].
pub const MAX_PIECE: usize = 1 << 20;
/// The longest range in one [`Item::Inherited`], in bytes: memory is counted between two items.
pub const MAX_INHERITED: u64 = 64 << 20;

/// What memory a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Private memory of the process with this pid in the pod.
    Process(i32),
    /// A shared object, by its number in the checkpoint; addresses are offsets into it.
    Object(u32),
}

/// Which part of a session's state a piece belongs to. Pieces of one part follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// Who it is and what its pod is made with.
    About,
    /// The kernel objects.
    Image,
    /// What its programs have printed.
    Log,
    /// Processes and mappings that the pages after it belong to; replaces the one before.
    Layout,
}

/// A piece of a session on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// Bytes of a part, at most [`MAX_PIECE`].
    Bytes {
        /// Of which.
        part: Part,
        /// The last piece of this part.
        last: bool,
        /// The bytes.
        #[serde(with = "serde_bytes")] // one copy instead of one step for each byte
        bytes: Vec<u8>,
    },
    /// Whole pages, at most [`MAX_PIECE`].
    Pages {
        /// Of what.
        place: Place,
        /// From this address on.
        address: u64,
        /// Their content.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// These pages are as if never touched.
    Forget {
        /// Of what.
        place: Place,
        /// From this address on.
        address: u64,
        /// So many bytes.
        len: u64,
    },
    /// These pages of a new process are as its parent's, which were sent before: it is to have them as if it had just
    /// been forked. Ascending, before anything else of it.
    Inherited {
        /// The process, by its pid in the pod.
        pid: i32,
        /// Its parent.
        from: i32,
        /// From this address on, in both.
        address: u64,
        /// So many bytes, at most [`MAX_INHERITED`].
        len: u64,
    },
}

/// An [`Item`] whose bytes lie elsewhere. In bytes both look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemRef<'a> {
    /// [`Item::Bytes`].
    Bytes {
        /// Of which.
        part: Part,
        /// The last piece of this part.
        last: bool,
        /// The bytes.
        #[serde(borrow, with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// [`Item::Pages`].
    Pages {
        /// Of what.
        place: Place,
        /// From this address on.
        address: u64,
        /// Their content.
        #[serde(borrow, with = "serde_bytes")]
        bytes: &'a [u8],
    },
    /// [`Item::Forget`].
    Forget {
        /// Of what.
        place: Place,
        /// From this address on.
        address: u64,
        /// So many bytes.
        len: u64,
    },
    /// [`Item::Inherited`].
    Inherited {
        /// The process, by its pid in the pod.
        pid: i32,
        /// Its parent.
        from: i32,
        /// From this address on, in both.
        address: u64,
        /// So many bytes.
        len: u64,
    },
}

impl Item {
    /// Without its bytes.
    #[must_use]
    pub fn borrow(&self) -> ItemRef<'_> {
        match *self {
            Self::Bytes { part, last, ref bytes } => ItemRef::Bytes { part, last, bytes },
            Self::Pages { place, address, ref bytes } => ItemRef::Pages { place, address, bytes },
            Self::Forget { place, address, len } => ItemRef::Forget { place, address, len },
            Self::Inherited { pid, from, address, len } => ItemRef::Inherited { pid, from, address, len },
        }
    }
}

impl From<ItemRef<'_>> for Item {
    fn from(item: ItemRef<'_>) -> Self {
        match item {
            ItemRef::Bytes { part, last, bytes } => Self::Bytes { part, last, bytes: bytes.to_vec() },
            ItemRef::Pages { place, address, bytes } => Self::Pages { place, address, bytes: bytes.to_vec() },
            ItemRef::Forget { place, address, len } => Self::Forget { place, address, len },
            ItemRef::Inherited { pid, from, address, len } => Self::Inherited { pid, from, address, len },
        }
    }
}

/// What the target must know before it says yes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Who the session will be (the generation already raised).
    pub identity: Identity,
    /// The move's number, chosen by the source.
    pub number: u64,
    /// Its name at home.
    pub name: String,
    /// What its pod is made with, encoded as [`Part::About`].
    pub about: Vec<u8>,
    /// Memory it has now, in bytes.
    pub memory_bytes: u64,
    /// The CPU features that its programs may have found (`flags` of /proc/cpuinfo).
    pub cpu_features: Vec<String>,
    /// CLOCK_MONOTONIC and CLOCK_BOOTTIME in the pod, in nanoseconds, when this was sent.
    pub clocks_ns: (i64, i64),
    /// What the target must have of its own, encoded by the engine.
    #[serde(with = "serde_bytes")]
    pub wants: Vec<u8>,
}

/// From the source's keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToTarget {
    /// The first message of a move.
    Offer(Box<Offer>),
    /// A piece.
    Item(Item),
    /// Every piece was sent: build.
    Sealed,
    /// The source has written that the session is gone: it is yours.
    Commit {
        /// The move's number.
        number: u64,
    },
    /// How long is the way? Answered by [`ToSource::Pong`].
    Ping,
    /// The move is off; nothing was committed.
    Abort {
        /// Why.
        failure: Failure,
    },
    /// The first message of a lane that was opened again.
    Query {
        /// The move's number.
        number: u64,
    },
    /// To [`ToSource::NeedsLocks`]: the frozen session holds no file lock any more.
    LocksGiven,
}

/// From the target's keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToSource {
    /// The pod is there: send.
    Accepted,
    /// No, and why. Nothing changed.
    Refused(Failure),
    /// To a ping.
    Pong,
    /// Everything is built and checked; nothing runs.
    Prepared,
    /// It can't be built; nothing is left here.
    Failed(Failure),
    /// It runs here.
    Activated,
    /// To a query.
    Status(Standing),
    /// Everything but file locks is built: somebody holds them, the source if both see the same files.
    NeedsLocks,
}

/// What the target has of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// A prepared copy that does not run: commit or abort.
    Prepared,
    /// It runs here.
    Activated,
    /// Nothing, and nothing will ever run here of this move.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode_section, encode_section};

    #[test]
    fn an_item_is_the_same_wherever_its_bytes_lie() {
        let place = Place::Process(7);
        for item in [
            Item::Bytes { part: Part::Layout, last: true, bytes: vec![1; 300] },
            Item::Pages { place, address: 0x7fff_0000_1000, bytes: vec![9; 4096] },
            Item::Pages { place: Place::Object(3), address: 0, bytes: vec![] },
            Item::Forget { place, address: 4096, len: 8192 },
            Item::Inherited { pid: 8, from: 7, address: 0x7fff_0000_1000, len: 4096 },
        ] {
            let bytes = encode_section(&item).unwrap();
            assert_eq!(encode_section(&item.borrow()).unwrap(), bytes);
            let back: ItemRef<'_> = decode_section(&bytes).unwrap();
            assert_eq!(back, item.borrow());
            assert_eq!(Item::from(back), item);
        }
    }
}
