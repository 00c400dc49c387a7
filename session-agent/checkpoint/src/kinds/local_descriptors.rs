//! A process's local descriptor table (modify_ldt(2)): segments of its own making, such as those in which Wine runs
//! 32-bit Windows code.
//!
//! Selectors that are loaded travel with the registers; they name entries of this table, so it comes first.
//! Where the kernel of a target is built without such tables, or without 16-bit segments, the call for an entry fails
//! and the move is undone; that is not found before the freeze.

use roam_sys::batch::{Batch, Data, Done, RetOf};
use serde::{Deserialize, Serialize};

const READ: i32 = 0;
/// Write, with all flags of `struct user_desc`.
const WRITE: i32 = 0x11;
/// LDT_ENTRIES * LDT_ENTRY_SIZE.
pub const LARGEST: usize = 8192 * 8;

/// One entry in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its place in the table.
    pub number: u16,
    /// As the processor reads it (Intel's manual, volume 3, 3.4.5).
    pub raw: u64,
}

/// Adds the question whether there is a table.
pub fn is_there(batch: &mut Batch) -> RetOf {
    let room = batch.room(8);
    batch.may(
        "looking for a local descriptor table",
        libc::SYS_modify_ldt,
        &[READ.into(), room.into(), 8.into()],
    )
}

/// Adds the question for the whole of it.
pub fn ask(batch: &mut Batch) -> Data {
    let room = batch.room(LARGEST);
    let args = [READ.into(), room.into(), LARGEST.into()];
    batch.must("reading the local descriptor table", libc::SYS_modify_ldt, &args);
    room
}

/// The entries in use.
#[must_use]
pub fn answer(table: Data, done: &Done) -> Vec<Descriptor> {
    let word = |raw: &[u8]| u64::from_le_bytes(raw.try_into().expect("eight bytes"));
    let all = done.bytes(table).chunks_exact(8).map(word);
    (0u16..).zip(all).filter(|(_, raw)| *raw != 0).map(|(number, raw)| Descriptor { number, raw }).collect()
}

/// Adds the calls that fill the table of a new process.
pub fn restore(table: &[Descriptor], batch: &mut Batch) {
    for descriptor in table {
        let call = batch.data(&descriptor.for_the_call());
        let args = [WRITE.into(), call.into(), 16.into()];
        batch.must("setting a local descriptor", libc::SYS_modify_ldt, &args);
    }
}

impl Descriptor {
    /// `struct user_desc`.
    fn for_the_call(self) -> [u8; 16] {
        let bits = |at: u32, count: u32| (self.raw >> at & ((1 << count) - 1)) as u32;
        let base = bits(16, 24) | bits(56, 8) << 24;
        let limit = bits(0, 16) | bits(48, 4) << 16;
        // Bit 41: writable, or readable code. Bits 42 and 43: expands down or conforms, and whether it is code.
        let flags = bits(54, 1)
            | bits(42, 2) << 1
            | (1 - bits(41, 1)) << 3
            | bits(55, 1) << 4
            | (1 - bits(47, 1)) << 5
            | bits(52, 1) << 6
            | bits(53, 1) << 7;
        let words = [u32::from(self.number), base, limit, flags].map(u32::to_le_bytes);
        words.concat().try_into().expect("sixteen bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_becomes_the_call_that_made_it() {
        // As Linux shows an entry set with base 0x12345678, limit 0x9abcd, 32 bits, writable data, useable.
        let data = Descriptor { number: 3, raw: 0x1259_f334_5678_abcd };
        let expected = [3, 0x1234_5678, 0x9_abcd, 0x41].map(u32::to_le_bytes).concat();
        assert_eq!(data.for_the_call()[..], expected);
        // Code, in pages, not present.
        let code = Descriptor { number: 8191, raw: 0x00cf_7b00_0000_ffff };
        let expected = [8191, 0, 0xf_ffff, 0x35].map(u32::to_le_bytes).concat();
        assert_eq!(code.for_the_call()[..], expected);
    }
}
