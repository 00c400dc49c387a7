//! The plain entries of a page map, 64 bits for each page: all that kernels before 6.7 have. They are read
//! for every page of an address range, also where nothing is: half a second for each TiB.

use std::io;
use std::os::unix::fs::FileExt;

use super::{PAGE, Pagemap};
use crate::runs::{Run, push};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE: u64 = 1 << 61;
const GUARD: u64 = 1 << 58;
const EXCLUSIVE: u64 = 1 << 56;
const SOFT_DIRTY: u64 = 1 << 55;

/// Entries read at a time.
const AT_ONCE: u64 = 8192;

/// What the entries of some ranges say.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Entries {
    /// Pages that the process has for itself, the zero page among them.
    pub own: Vec<Run>,
    /// Those of them that several processes share since a fork, or that are the zero page: the entries don't say which.
    pub shared: Vec<Run>,
    /// Those of them that have their soft-dirty bit, or lie in an area that has.
    pub written: Vec<Run>,
    /// Those of them that are not in memory, or on their way to another place in it.
    pub away: Vec<Run>,
}

impl Entries {
    /// Notes the entry of the page at this address, which lies behind all others.
    fn note(&mut self, address: u64, entry: u64) {
        if entry & (PRESENT | SWAPPED) == 0 || entry & (FILE | GUARD) != 0 {
            return;
        }
        let page = Run { start: address, end: address + PAGE };
        push(&mut self.own, page);
        if entry & (SWAPPED | EXCLUSIVE) == 0 {
            push(&mut self.shared, page);
        }
        if entry & SOFT_DIRTY != 0 {
            push(&mut self.written, page);
        }
        if entry & SWAPPED != 0 {
            push(&mut self.away, page);
        }
    }
}

impl Pagemap {
    /// What the plain entries of these ascending ranges say.
    ///
    /// # Errors
    /// As read(2); UnexpectedEof if the process has ended or runs another program.
    pub fn entries(&self, ranges: &[Run]) -> io::Result<Entries> {
        let mut entries = Entries::default();
        self.read(ranges, |address, entry| entries.note(address, entry))?;
        Ok(entries)
    }

    /// The pages of these ascending ranges that are there, a file's among them.
    pub(super) fn there(&self, ranges: &[Run]) -> io::Result<Vec<Run>> {
        let mut there = Vec::new();
        self.read(ranges, |start, entry| {
            if entry & (PRESENT | SWAPPED) != 0 {
                push(&mut there, Run { start, end: start + PAGE });
            }
        })?;
        Ok(there)
    }

    fn read(&self, ranges: &[Run], mut found: impl FnMut(u64, u64)) -> io::Result<()> {
        let mut buffer = vec![0u8; 8 * AT_ONCE as usize];
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let pages = ((range.end - at) / PAGE).min(AT_ONCE);
                let part = &mut buffer[..pages as usize * 8];
                self.file.read_exact_at(part, at / PAGE * 8)?;
                for (i, entry) in part.chunks_exact(8).enumerate() {
                    let entry = u64::from_le_bytes(entry.try_into().expect("eight bytes"));
                    found(at + i as u64 * PAGE, entry);
                }
                at += pages * PAGE;
            }
        }
        Ok(())
    }

    /// Whether the page at this address or its area has the soft-dirty bit.
    ///
    /// # Errors
    /// As [`Pagemap::entries`].
    pub fn is_soft_dirty(&self, address: u64) -> io::Result<bool> {
        let mut entry = [0u8; 8];
        self.file.read_exact_at(&mut entry, address / PAGE * 8)?;
        Ok(u64::from_le_bytes(entry) & SOFT_DIRTY != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_means_what_the_kernel_says() {
        let table = [
            (0, [false; 4]),
            // An area that is new, with nothing in it.
            (SOFT_DIRTY, [false; 4]),
            (PRESENT | FILE | SOFT_DIRTY, [false; 4]),
            (SWAPPED | GUARD, [false; 4]),
            (PRESENT, [true, true, false, false]),
            (PRESENT | EXCLUSIVE, [true, false, false, false]),
            (PRESENT | EXCLUSIVE | SOFT_DIRTY, [true, false, true, false]),
            (PRESENT | SOFT_DIRTY, [true, true, true, false]),
            (SWAPPED, [true, false, false, true]),
            (SWAPPED | SOFT_DIRTY, [true, false, true, true]),
        ];
        for (entry, wanted) in table {
            let mut entries = Entries::default();
            entries.note(0x5000, entry);
            let page = [Run { start: 0x5000, end: 0x6000 }];
            let got =
                [&entries.own, &entries.shared, &entries.written, &entries.away].map(|runs| runs[..] == page);
            assert_eq!(got, wanted, "{entry:x}");
        }
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut entries = Entries::default();
        for (page, entry) in [(1, PRESENT), (2, PRESENT), (3, 0), (4, PRESENT)] {
            entries.note(page * PAGE, entry);
        }
        assert_eq!(entries.own, [Run { start: 0x1000, end: 0x3000 }, Run { start: 0x4000, end: 0x5000 }]);
    }
}
