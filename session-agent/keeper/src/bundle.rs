//! A session on its way, as pieces: into a file or to another machine, and back.
//!
//! [`Outgoing`] turns what the engine and the keeper know into [`Item`]s, [`Incoming`] collects items until
//! a session can be built of them. Pages never gather: they go on at once.

use std::io;

use roam_api::codec::{decode_section, encode_section};
use roam_api::init::Role;
use roam_api::keeper::Identity;
use roam_api::migration::{ItemRef, MAX_INHERITED, MAX_PIECE, Part, Place};
use roam_api::session::SessionSpec;
use roam_checkpoint::objects::ObjectId;
use roam_checkpoint::pages::{Layout, PageSink, Space};
use roam_checkpoint::{Clocks, Error, Image};
use serde::{Deserialize, Serialize};

use crate::journal::Facts;

/// The longest a part may become, in bytes; more is refused before the freeze where it can be known.
pub const MAX_PART: usize = 256 << 20;

/// Everything about a session that its new pod and keeper must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Who it is.
    pub identity: Identity,
    /// What was started.
    pub spec: SessionSpec,
    /// What its pod is made with.
    pub facts: Facts,
    /// Children of roam-init: pid, what it is, and the status of a program that ended.
    pub children: Vec<(i32, Role, Option<i32>)>,
    /// The pod's clocks at the freeze.
    pub monotonic_ns: i64,
    /// As a process of the pod reads it.
    pub boottime_ns: i64,
    /// The machine's time of day then.
    pub realtime_ns: i64,
}

impl About {
    /// With the clocks of a checkpoint.
    #[must_use]
    pub fn at(mut self, clocks: Clocks) -> Self {
        self.monotonic_ns = clocks.monotonic;
        self.boottime_ns = clocks.boottime;
        self.realtime_ns = clocks.realtime;
        self
    }
}

/// Whoever takes items.
pub trait ItemSink {
    /// Takes one.
    ///
    /// # Errors
    /// If it can't; whoever sends gives up.
    fn put(&mut self, item: ItemRef<'_>) -> io::Result<()>;
}

/// Sends a session's parts and pages to a sink of items.
pub struct Outgoing<'a> {
    sink: &'a mut dyn ItemSink,
    /// Bytes sent so far.
    pub bytes: u64,
}

impl<'a> Outgoing<'a> {
    /// Into this sink.
    pub fn new(sink: &'a mut dyn ItemSink) -> Self {
        Self { sink, bytes: 0 }
    }

    /// Sends a part in pieces.
    ///
    /// # Errors
    /// The sink's, or a part longer than [`MAX_PART`].
    pub fn part(&mut self, part: Part, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_PART {
            return Err(io::Error::other(format!("the session's {part:?} takes {} MiB", bytes.len() >> 20)));
        }
        self.bytes += bytes.len() as u64;
        let mut pieces = bytes.chunks(MAX_PIECE).peekable();
        if pieces.peek().is_none() {
            return self.sink.put(ItemRef::Bytes { part, last: true, bytes: &[] });
        }
        while let Some(piece) = pieces.next() {
            self.sink.put(ItemRef::Bytes { part, last: pieces.peek().is_none(), bytes: piece })?;
        }
        Ok(())
    }

    /// Sends an encoded value as a part.
    ///
    /// # Errors
    /// As [`Outgoing::part`].
    pub fn value<T: Serialize>(&mut self, part: Part, value: &T) -> io::Result<()> {
        self.part(part, &encode_section(value).map_err(io::Error::other)?)
    }

    fn put(&mut self, item: ItemRef<'_>) -> Result<(), Error> {
        self.sink.put(item).map_err(|e| Error::system("sending the session's memory", e))
    }
}

fn place(space: Space) -> Place {
    match space {
        Space::Process(pid) => Place::Process(pid),
        Space::Object(object) => Place::Object(object.0),
    }
}

fn space(place: Place) -> Space {
    match place {
        Place::Process(pid) => Space::Process(pid),
        Place::Object(number) => Space::Object(ObjectId(number)),
    }
}

impl PageSink for Outgoing<'_> {
    fn layout(&mut self, layout: &Layout) -> Result<(), Error> {
        self.value(Part::Layout, layout).map_err(|e| Error::system("sending the session's mappings", e))
    }

    fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        let mut at = address;
        for piece in bytes.chunks(MAX_PIECE) {
            self.put(ItemRef::Pages { place: place(space), address: at, bytes: piece })?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn forget(&mut self, space: Space, address: u64, len: u64) -> Result<(), Error> {
        self.put(ItemRef::Forget { place: place(space), address, len })
    }

    fn inherited(&mut self, pid: i32, from: i32, address: u64, len: u64) -> Result<(), Error> {
        let end = address + len;
        for address in (address..end).step_by(MAX_INHERITED as usize) {
            let len = (end - address).min(MAX_INHERITED);
            self.put(ItemRef::Inherited { pid, from, address, len })?;
        }
        Ok(())
    }
}

/// A session that is arriving.
#[derive(Default)]
pub struct Incoming {
    partial: Option<(Part, Vec<u8>)>,
    /// Once it has come.
    pub about: Option<About>,
    /// Once it has come.
    pub image: Option<Image>,
    /// What was printed.
    pub log: Vec<u8>,
}

impl Incoming {
    /// Takes an item; pages and mappings go on to `memory`.
    ///
    /// # Errors
    /// An item that breaks the rules, or what `memory` answered. The session can't be built then.
    pub fn take(&mut self, item: ItemRef<'_>, memory: &mut dyn PageSink) -> Result<(), Error> {
        match item {
            ItemRef::Bytes { part, last, bytes } => {
                let mut whole = match self.partial.take() {
                    None => Vec::new(),
                    Some((begun, whole)) if begun == part => whole,
                    Some((begun, _)) => {
                        return Err(Error::Image(format!("{begun:?} broke off for {part:?}")));
                    }
                };
                if bytes.len() > MAX_PIECE || whole.len() + bytes.len() > MAX_PART {
                    return Err(Error::Image(format!("{part:?} is too long")));
                }
                whole.extend_from_slice(bytes);
                if last {
                    self.part(part, &whole, memory)?;
                } else {
                    self.partial = Some((part, whole));
                }
                Ok(())
            }
            ItemRef::Pages { place, address, bytes } => {
                if bytes.len() > MAX_PIECE || !bytes.len().is_multiple_of(4096) || address % 4096 != 0 {
                    return Err(Error::Image("pages of a wrong size or place".into()));
                }
                memory.pages(space(place), address, bytes)
            }
            ItemRef::Forget { place, address, len } => memory.forget(space(place), address, len),
            ItemRef::Inherited { pid, from, address, len } => {
                if len > MAX_INHERITED {
                    return Err(Error::Image("too much is inherited at once".into()));
                }
                memory.inherited(pid, from, address, len)
            }
        }
    }

    fn part(&mut self, part: Part, bytes: &[u8], memory: &mut dyn PageSink) -> Result<(), Error> {
        fn decode<T: serde::de::DeserializeOwned>(part: Part, bytes: &[u8]) -> Result<T, Error> {
            decode_section(bytes).map_err(|e| Error::Image(format!("{part:?}: {e}")))
        }
        match part {
            Part::About => self.about = Some(decode(part, bytes)?),
            Part::Image => self.image = Some(decode(part, bytes)?),
            Part::Log => self.log = bytes.to_vec(),
            Part::Layout => memory.layout(&decode(part, bytes)?)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use roam_api::migration::Item;

    #[derive(Default)]
    struct Memory(Vec<(Space, u64, usize)>);
    impl PageSink for Memory {
        fn layout(&mut self, _: &Layout) -> Result<(), Error> {
            Ok(())
        }
        fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error> {
            self.0.push((space, address, bytes.len()));
            Ok(())
        }
        fn forget(&mut self, _: Space, _: u64, _: u64) -> Result<(), Error> {
            Ok(())
        }
        fn inherited(&mut self, pid: i32, _: i32, address: u64, len: u64) -> Result<(), Error> {
            self.0.push((Space::Process(pid), address, len as usize));
            Ok(())
        }
    }
    #[derive(Default)]
    struct Items(Vec<Item>);
    impl ItemSink for Items {
        fn put(&mut self, item: ItemRef<'_>) -> io::Result<()> {
            self.0.push(item.into());
            Ok(())
        }
    }

    #[test]
    fn long_parts_and_pages_travel_in_pieces() {
        let mut items = Items::default();
        let mut out = Outgoing::new(&mut items);
        let log = vec![7; 2 * MAX_PIECE + 5];
        out.part(Part::Log, &log).unwrap();
        out.pages(Space::Process(4), 0x1000, &vec![1; MAX_PIECE + 4096]).unwrap();
        let long = MAX_INHERITED + 4096;
        out.inherited(5, 4, 0x1000, long).unwrap();
        assert_eq!(items.0.len(), 7);
        let (mut incoming, mut memory) = (Incoming::default(), Memory::default());
        for item in items.0 {
            incoming.take(item.borrow(), &mut memory).unwrap();
        }
        assert_eq!(incoming.log, log);
        let second = 0x1000 + MAX_PIECE as u64;
        assert_eq!(
            memory.0[..2],
            [(Space::Process(4), 0x1000, MAX_PIECE), (Space::Process(4), second, 4096)]
        );
        let (whole, second) = (MAX_INHERITED as usize, 0x1000 + MAX_INHERITED);
        assert_eq!(memory.0[2..], [(Space::Process(5), 0x1000, whole), (Space::Process(5), second, 4096)]);
        let too_long = ItemRef::Inherited { pid: 5, from: 4, address: 0, len: long };
        assert!(incoming.take(too_long, &mut memory).is_err());
    }

    proptest! {
        #[test]
        fn no_item_is_trusted(bytes in proptest::collection::vec(any::<u8>(), 0..100), address: u64, last: bool) {
            let (mut incoming, mut memory) = (Incoming::default(), Memory::default());
            let odd = ItemRef::Pages { place: Place::Process(1), address, bytes: &bytes };
            prop_assert_eq!(incoming.take(odd, &mut memory).is_ok(), bytes.is_empty() && address % 4096 == 0);
            for part in [Part::About, Part::Image] {
                let _ = incoming.take(ItemRef::Bytes { part, last, bytes: &bytes }, &mut memory);
            }
        }
    }
}
