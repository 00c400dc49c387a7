//! Written pages by soft-dirty bits, where the kernel has nothing newer.
//!
//! What can change without a bit (seen in Linux 6.1):
//! - mremap moves whole page tables of 2 MiB as they are. So pages count only in areas that are marked by a
//!   userfaultfd, which an area made or moved since is not. Areas of files can't be marked there: of those the
//!   whole blocks of 2 MiB are sent each time;
//! - a page that was dropped and then only read is the zero page: it reads as such
//!   ([`Access::without_zero_page`]);
//! - a page on its way to another place in memory while bits are cleared may be writable afterwards. So they are
//!   cleared twice, and what is on its way in between is not believed;
//! - a private view of an object's huge page looks like the process's own: it is sent each time.
//!
//! A program may use the bits for itself, as garbage collectors do, and clear ours. One page that programs don't
//! write is the witness: we write it after clearing, and if its bit is gone, another has cleared them. From then on
//! nothing of that process is believed, and its bits are never cleared by us. A program that has cleared them before
//! is found in the same way, since areas are made with the bit.

use std::io;

use roam_sys::runs::{self, Run, push};
use roam_sys::soft_dirty::ClearRefs;

use super::{Found, Notes, Tracked, looking, places, trackable};
use crate::error::Error;
use crate::kinds::memory_send::Access;
use crate::pages::{Backing, Mapping, ProcessLayout};

/// What one table of pages spans.
const TABLE: u64 = 2 << 20;

/// The soft-dirty bits of a process.
pub(super) struct Bits {
    /// None once they are not believed any more.
    clear: Option<ClearRefs>,
    witness: Option<u64>,
    /// Pages that were not in their place when the bits were cleared.
    away: Vec<Run>,
    seen: Seen,
}

/// What was found when the process stood still.
#[derive(Default)]
struct Seen {
    own: Vec<Run>,
    shared: Vec<Run>,
    changed: Vec<Run>,
}

/// Reads the bits of all processes; they stand still. Two may share their memory, so none is cleared before.
pub(super) fn look(each: &mut [(&mut Tracked, &Access, &ProcessLayout)]) -> Result<(), Error> {
    bits(each).try_for_each(|(bits, access, process)| {
        bits.look(access, process).map_err(|e| looking(process.node.pid, e))
    })
}

/// Clears the bits of all processes, which have been looked at and stand still.
pub(super) fn arm(each: &mut [(&mut Tracked, &Access, &ProcessLayout)]) {
    bits(each).for_each(|(bits, ..)| bits.clear());
    bits(each).for_each(|(bits, access, _)| bits.look_for_absent(access));
    bits(each).for_each(|(bits, ..)| bits.clear());
    bits(each).for_each(|(bits, access, _)| bits.set_witness(access));
}

fn bits<'a>(
    each: &'a mut [(&mut Tracked, &Access, &ProcessLayout)],
) -> impl Iterator<Item = (&'a mut Bits, &'a Access, &'a ProcessLayout)> {
    each.iter_mut().filter_map(|(tracked, access, process)| match &mut tracked.notes {
        Notes::SoftDirty(bits) => Some((bits, &**access, &**process)),
        Notes::Asynchronous => None,
    })
}

impl Bits {
    /// Of a process that stands still.
    pub(super) fn open(host: i32) -> Self {
        Self { clear: ClearRefs::open(host).ok(), witness: None, away: Vec::new(), seen: Seen::default() }
    }

    /// Reads them; the process stands still.
    pub(super) fn look(&mut self, access: &Access, process: &ProcessLayout) -> io::Result<()> {
        self.witness = self.witness.or_else(|| witness(&process.mappings));
        let intact = self.witness.map(|page| access.pagemap.is_soft_dirty(page)).transpose()?;
        if intact != Some(true) {
            self.clear = None;
        }
        let populated = runs::intersection(&places(process), &access.areas.populated);
        let entries = access.pagemap.entries(&populated)?;
        let believed = match self.clear {
            Some(_) => runs::difference(&noted(&process.mappings, &access.areas.marked), &self.away),
            None => Vec::new(),
        };
        let changed = runs::union(&entries.written, &runs::difference(&entries.own, &believed));
        self.seen = Seen { own: entries.own, shared: entries.shared, changed };
        Ok(())
    }

    /// What was read last.
    pub(super) fn found(&mut self, access: &Access, process: &ProcessLayout) -> Found {
        let seen = std::mem::take(&mut self.seen);
        Found { own: access.without_zero_page(process, &seen.own, &seen.shared), changed: seen.changed }
    }

    fn clear(&mut self) {
        if self.clear.as_ref().is_some_and(|bits| bits.clear().is_err()) {
            self.clear = None;
        }
    }

    fn look_for_absent(&mut self, access: &Access) {
        // What was not there is not believed next time anyway.
        match access.pagemap.entries(&self.seen.own) {
            Ok(entries) => self.away = entries.away,
            Err(_) => self.clear = None,
        }
    }

    fn set_witness(&mut self, access: &Access) {
        if self.clear.is_some() && self.witness.is_none_or(|page| access.rewrite(page).is_err()) {
            self.clear = None;
        }
    }
}

/// The first page that the program can only read, and the engine has no use for.
fn witness(mappings: &[Mapping]) -> Option<u64> {
    let never_written = |m: &&Mapping| {
        !m.shared
            && m.prot == libc::PROT_READ
            && matches!(m.backing, Backing::File { .. } | Backing::Object { .. })
    };
    mappings.iter().find(never_written).map(|m| m.start)
}

/// Where nothing can change without a bit.
fn noted(mappings: &[Mapping], marked: &[Run]) -> Vec<Run> {
    let mut noted = Vec::new();
    for m in mappings.iter().filter(|m| trackable(m)) {
        let whole = Run { start: m.start, end: m.end };
        match m.backing {
            Backing::Anonymous => {
                runs::within(marked, whole).into_iter().for_each(|run| push(&mut noted, run))
            }
            Backing::File { .. } => {
                let tables = Run { start: m.start.next_multiple_of(TABLE), end: m.end / TABLE * TABLE };
                let tables = if tables.start < tables.end { vec![tables] } else { Vec::new() };
                runs::difference(&[whole], &tables).into_iter().for_each(|run| push(&mut noted, run));
            }
            Backing::Object { .. } | Backing::Jumps | Backing::Ring => {}
        }
    }
    noted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::memory_traits::Traits;

    fn mapping(start: u64, end: u64, prot: i32, backing: Backing) -> Mapping {
        Mapping { start, end, prot, shared: false, traits: Traits::default(), backing }
    }

    fn run(start: u64, end: u64) -> Run {
        Run { start, end }
    }

    const READ: i32 = libc::PROT_READ;
    const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const FILE: Backing = Backing::File { file: 0, offset: 0 };

    #[test]
    fn only_marked_anonymous_memory_is_believed() {
        let mappings = [
            mapping(0x1000, 0x4000, WRITE, Backing::Anonymous),
            mapping(0x4000, 0x6000, READ, Backing::Anonymous),
            mapping(0x8000, 0x9000, WRITE, Backing::Anonymous),
        ];
        let marked = [run(0x1000, 0x4000), run(0x8000, 0x9000)];
        assert_eq!(noted(&mappings, &marked), marked);
        assert_eq!(noted(&mappings, &[]), []);
    }

    #[test]
    fn of_a_file_no_whole_page_table_is_believed() {
        let last = 3 * TABLE + 0x5000;
        let mappings =
            [mapping(TABLE - 0x1000, last, WRITE, FILE), mapping(last, last + 0x1000, WRITE, FILE)];
        let wanted = [run(TABLE - 0x1000, TABLE), run(3 * TABLE, last + 0x1000)];
        assert_eq!(noted(&mappings, &[]), wanted);
        // One that begins and ends in the middle holds none.
        let small = [mapping(TABLE / 2, TABLE + TABLE / 2, WRITE, FILE)];
        assert_eq!(noted(&small, &[]), [run(TABLE / 2, TABLE + TABLE / 2)]);
    }

    #[test]
    fn views_of_objects_and_shared_memory_are_not_believed() {
        let object = Backing::Object { object: crate::objects::ObjectId(1), offset: 0 };
        let mut shared = mapping(0x8000, 0x9000, WRITE, FILE);
        shared.shared = true;
        let mappings = [mapping(0x1000, 0x4000, WRITE, object), shared];
        assert_eq!(noted(&mappings, &[run(0x1000, 0x9000)]), []);
    }

    #[test]
    fn the_witness_is_what_the_program_only_reads() {
        let mut shared = mapping(0x1000, 0x2000, READ, FILE);
        shared.shared = true;
        let mappings = [
            shared,
            mapping(0x2000, 0x3000, READ, Backing::Anonymous),
            mapping(0x3000, 0x4000, READ | libc::PROT_EXEC, FILE),
            mapping(0x4000, 0x5000, WRITE, FILE),
            mapping(0x5000, 0x7000, READ, FILE),
        ];
        assert_eq!(witness(&mappings), Some(0x5000));
        assert_eq!(witness(&mappings[..4]), None);
    }
}
