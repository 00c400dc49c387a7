//! A thread's registers beyond the general ones: x87 and SSE, and whatever else its processor has, AVX to AMX.
//!
//! Another processor keeps them at other places and may have more or fewer sets. So they travel with
//! where the source kept each set, and are put where the target does. Refused: a set in use
//! that the target lacks. A set that the source lacks is as the target's kernel starts a program with.
//!
//! Large sets (AMX's tiles) a process must ask the kernel for (arch_prctl(2), ARCH_REQ_XCOMP_PERM), and a thread gets the
//! room for one when it first uses it: before it is given one from outside it loads that itself.

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Data, Done, RetOf};
use roam_sys::xstate::{Component, components};
use serde::{Deserialize, Serialize};

use crate::error::Error;

const ARCH_GET_XCOMP_PERM: i32 = 0x1022;
const ARCH_REQ_XCOMP_PERM: i32 = 0x1023;
/// The sets that must be asked for: the data of AMX's tiles.
const TO_BE_ASKED_FOR: [u32; 1] = [18];

/// The part of old: x87 and SSE (FXSAVE), of which the last 48 bytes are the kernel's.
const LEGACY: usize = 464;
/// In those: which sets this kernel keeps (XCR0); the kernel writes it there for debuggers.
const KEPT: usize = 464;
/// Which sets are not as at a program's start (XSTATE_BV).
const IN_USE: usize = 512;
/// Where the sets begin, behind their header.
const SETS: usize = 576;
/// Bits of x87 and SSE.
const OLD: u64 = 3;
/// Which bits of MXCSR this processor has: no register, but what FXSAVE says of the processor.
const MXCSR_MASK: std::ops::Range<usize> = 28..32;

/// The registers of one thread, as its processor keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// The area in the standard XSAVE form; the old part alone where there is no XSAVE.
    area: Vec<u8>,
    /// The sets that the processor has: index, offset, size.
    sets: Vec<(u32, u32, u32)>,
}

impl Extended {
    /// What was read of a thread on this processor.
    #[must_use]
    pub fn here(area: Vec<u8>) -> Self {
        let kept = word(&area, KEPT);
        let kept = |c: &Component| kept >> c.index & 1 == 1 && area.len() >= end(c);
        let sets = components().iter().filter(|c| kept(c)).map(|c| (c.index, c.offset, c.size)).collect();
        Self { area, sets }
    }

    /// The area to be set on this processor, given what a thread that has just been started has.
    ///
    /// # Errors
    /// The index of a set in use that is not there or larger here; the image may be of any content.
    pub fn fitted(&self, fresh: Vec<u8>) -> Result<Vec<u8>, u32> {
        fit(self, Self::here(fresh))
    }
}

/// Which of the sets in use in an area a thread must load itself before it can be given the area: a bit for each.
#[must_use]
pub fn to_be_loaded(area: &[u8]) -> u64 {
    if area.len() < SETS { 0 } else { word(area, IN_USE) & asked_for() }
}

/// For a set that can't be had here, of this process.
#[must_use]
pub fn refusal(set: u32, name: &[u8], pid: i32) -> Error {
    Error::Refused(vec![Refusal {
        process: String::from_utf8_lossy(name).into_owned(),
        pid: pid.unsigned_abs(),
        what: format!("its registers of the kind {}", self::name(set)),
        reason: "that machine's processor or kernel has none such, or other ones".to_owned(),
        remedy: "Send it to a machine with a processor like that on which it was started.".to_owned(),
    }])
}

fn asked_for() -> u64 {
    TO_BE_ASKED_FOR.iter().fold(0, |all, set| all | 1 << set)
}

/// Adds the question for what a process may use.
pub fn ask(batch: &mut Batch) -> (Data, RetOf) {
    let room = batch.room(8);
    let args = [ARCH_GET_XCOMP_PERM.into(), room.into()];
    (room, batch.may("asking for the registers that may be used", libc::SYS_arch_prctl, &args))
}

/// The sets that it has asked for: a bit for each.
#[must_use]
pub fn answer((room, ret): (Data, RetOf), done: &Done) -> u64 {
    // Before Linux 5.16, and without such sets, there is nothing to be asked for.
    if done.ret(ret) < 0 { 0 } else { done.u64(room) & asked_for() }
}

/// Adds the calls that ask for these sets; each with what it is for.
pub fn request(permitted: u64, batch: &mut Batch) -> Vec<(u32, RetOf)> {
    TO_BE_ASKED_FOR
        .into_iter()
        .filter(|set| permitted >> set & 1 == 1)
        .map(|set| {
            let args = [ARCH_REQ_XCOMP_PERM.into(), set.into()];
            (set, batch.may("asking for large registers", libc::SYS_arch_prctl, &args))
        })
        .collect()
}

fn end(c: &Component) -> usize {
    c.offset as usize + c.size as usize
}

fn word(area: &[u8], at: usize) -> u64 {
    area.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The index of the set that can't be had is the error.
fn fit(source: &Extended, mut here: Extended) -> Result<Vec<u8>, u32> {
    let (Some(old), true) = (source.area.get(..LEGACY), here.area.len() >= IN_USE) else { return Err(0) };
    let mask = <[u8; 4]>::try_from(&here.area[MXCSR_MASK]).unwrap_or_default();
    here.area[..LEGACY].copy_from_slice(old);
    here.area[MXCSR_MASK].copy_from_slice(&mask);
    let no_header = source.area.len() < SETS;
    let in_use = if no_header { OLD } else { word(&source.area, IN_USE) };
    let mut used_here = if here.area.len() < SETS { 0 } else { word(&here.area, IN_USE) };
    used_here = used_here & !OLD | in_use & OLD;
    for &(index, offset, size) in &source.sets {
        let bit = 1u64.checked_shl(index).ok_or(index)?;
        used_here &= !bit;
        if in_use & bit == 0 {
            continue;
        }
        let room = here.sets.iter().find(|set| set.0 == index && set.2 == size).ok_or(index)?;
        let from = source.area.get(offset as usize..offset as usize + size as usize).ok_or(index)?;
        here.area[room.1 as usize..][..size as usize].copy_from_slice(from);
        used_here |= bit;
    }
    if let Some(place) = here.area.get_mut(IN_USE..IN_USE + 8) {
        place.copy_from_slice(&used_here.to_le_bytes());
    }
    Ok(here.area)
}

fn name(index: u32) -> String {
    match index {
        0 => "x87".to_owned(),
        2 => "AVX".to_owned(),
        3 | 4 => "MPX".to_owned(),
        5..=7 => "AVX-512".to_owned(),
        9 => "PKRU (protection keys)".to_owned(),
        17 | 18 => "AMX".to_owned(),
        19 => "APX".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor with these sets, and an area in which each holds its index and `in_use` is as given.
    fn processor(sets: &[(u32, u32, u32)], in_use: u64) -> Extended {
        let length = sets.iter().map(|s| s.1 + s.2).max().map_or(512, |end| end.max(576)) as usize;
        let mut area = vec![0; length];
        for &(index, offset, size) in sets {
            area[offset as usize..][..size as usize].fill(index as u8);
        }
        if length > 512 {
            area[IN_USE..IN_USE + 8].copy_from_slice(&in_use.to_le_bytes());
        }
        area[0] = 0x7f;
        Extended { area, sets: sets.to_vec() }
    }

    const AVX: (u32, u32, u32) = (2, 576, 256);
    const INTEL_KEYS: (u32, u32, u32) = (9, 2688, 8);
    const AMD_KEYS: (u32, u32, u32) = (9, 832, 8);

    #[test]
    fn each_set_lies_where_the_target_keeps_it() {
        let area = fit(&processor(&[AVX, INTEL_KEYS], 0x207), processor(&[AVX, AMD_KEYS], 0)).expect("fits");
        assert_eq!(area.len(), 840);
        assert_eq!((word(&area, IN_USE), area[0]), (0x207, 0x7f));
        assert!(area[576..832].iter().all(|&byte| byte == 2) && area[832..].iter().all(|&byte| byte == 9));
    }

    #[test]
    fn what_the_target_lacks_is_an_error_only_in_use() {
        let (rich, poor) = ([AVX, INTEL_KEYS], [AVX]);
        assert_eq!(fit(&processor(&rich, 0x207), processor(&poor, 0)), Err(9));
        let area = fit(&processor(&rich, 0x7), processor(&poor, 0)).expect("not in use");
        assert_eq!(area.len(), 832);
        let other_size = [(2, 576, 128)];
        assert_eq!(fit(&processor(&rich, 0x7), processor(&other_size, 0)), Err(2));
    }

    #[test]
    fn what_the_source_lacks_stays_as_it_is_at_a_start() {
        let area = fit(&processor(&[AVX], 0x1), processor(&[AVX, INTEL_KEYS], 0x202)).expect("fits");
        assert_eq!(word(&area, IN_USE), 0x201);
        assert_eq!(area[2688], 9);
    }

    #[test]
    fn a_processor_without_xsave_gives_and_takes_the_old_part() {
        let area = fit(&processor(&[], 0), processor(&[AVX], 0)).expect("fits");
        assert_eq!(word(&area, IN_USE), OLD);
        let area = fit(&processor(&[AVX], 0x3), processor(&[], 0)).expect("fits");
        assert_eq!((area.len(), area[0]), (512, 0x7f));
        assert_eq!(fit(&processor(&[AVX], 0x7), processor(&[], 0)), Err(2));
    }

    #[test]
    fn an_image_of_any_content_is_refused_and_not_trusted() {
        let here = || processor(&[AVX], 0);
        for bad in [
            Extended { area: vec![0; 100], sets: vec![] },
            Extended { area: processor(&[AVX], u64::MAX).area, sets: vec![(2, u32::MAX, 256)] },
            Extended { area: processor(&[AVX], u64::MAX).area, sets: vec![(200, 576, 256)] },
        ] {
            assert!(fit(&bad, here()).is_err());
        }
    }

    #[test]
    fn tiles_are_asked_for_and_loaded_where_they_were() {
        const TILES: (u32, u32, u32) = (18, 2816, 8192);
        let used = processor(&[AVX, TILES], 0x40207);
        let area = fit(&used, processor(&[AVX, TILES], 0)).expect("fits");
        assert_eq!(to_be_loaded(&area), 1 << 18);
        assert_eq!(to_be_loaded(&processor(&[AVX, TILES], 0x207).area), 0);
        assert_eq!(to_be_loaded(&[0; 512]), 0);
        assert_eq!(fit(&used, processor(&[AVX], 0)), Err(18));
        let mut batch = Batch::new();
        assert!(request(0x207, &mut batch).is_empty() && batch.is_empty());
        assert_eq!(request(0x60207, &mut batch).len(), 1);
    }

    #[test]
    fn a_refusal_names_process_and_set() {
        let Error::Refused(refusals) = refusal(18, b"app", 7) else { panic!("another error") };
        assert_eq!((refusals[0].process.as_str(), refusals[0].pid), ("app", 7));
        assert!(refusals[0].what.contains("AMX"));
    }

    #[test]
    fn this_processor_knows_its_own_sets() {
        for c in components() {
            assert!(c.offset as usize >= SETS && c.size > 0, "{c:?}");
        }
    }
}
