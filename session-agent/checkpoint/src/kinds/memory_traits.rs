//! What a program asked for on its memory beyond place and protection: advice (madvise), locks (mlock), seals
//! (mseal), protection keys, reservation, names.
//!
//! What decides how memory is mapped is given to mmap(2); the rest is asked for again once all pages are in
//! place, so that nothing is in the way of filling them.
//!
//! Refused: pages of the machine's pool of huge pages, and shadow stacks.

use roam_sys::batch::Batch;
use roam_sys::procfs::maps::Area;
use roam_sys::procfs::smaps::{Details, VmFlags};
use serde::{Deserialize, Serialize};

use crate::pages::Mapping;

const MLOCK_ONFAULT: u32 = 1;
const PR_SET_VMA: i32 = 0x5356_4d41;
const PR_SET_VMA_ANON_NAME: i32 = 0;
const SYS_MSEAL: i64 = 462;

/// Advice by its flag.
const ADVICE: [(u32, i32); 8] = [
    (VmFlags::SEQUENTIAL, libc::MADV_SEQUENTIAL),
    (VmFlags::RANDOM, libc::MADV_RANDOM),
    (VmFlags::DONT_FORK, libc::MADV_DONTFORK),
    (VmFlags::WIPE_ON_FORK, libc::MADV_WIPEONFORK),
    (VmFlags::DONT_DUMP, libc::MADV_DONTDUMP),
    (VmFlags::HUGE_PAGE, libc::MADV_HUGEPAGE),
    (VmFlags::NO_HUGE_PAGE, libc::MADV_NOHUGEPAGE),
    (VmFlags::MERGEABLE, libc::MADV_MERGEABLE),
];

/// What was asked for on one mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// Bits of [`VmFlags`].
    pub flags: u32,
    /// Protection key; 0 is everybody's.
    pub key: u8,
    /// PR_SET_VMA_ANON_NAME.
    pub name: Vec<u8>,
}

impl Traits {
    /// Of an area of a process.
    #[must_use]
    pub fn of(area: &Area, details: &Details) -> Self {
        let mut flags = details.flags.0 & !VmFlags::MARKED;
        if !area.shared {
            flags &= !VmFlags::MAY_WRITE;
        }
        // The kernel keeps execute-only memory by a key of its own choice.
        let key = if area.prot == libc::PROT_EXEC { 0 } else { details.key };
        let name = [b"[anon:".as_slice(), b"[anon_shmem:"]
            .iter()
            .find_map(|head| area.name.strip_prefix(*head)?.strip_suffix(b"]"));
        Self { flags, key, name: name.unwrap_or_default().to_vec() }
    }

    /// True if one of these bits is set.
    #[must_use]
    pub fn has(&self, bits: u32) -> bool {
        VmFlags(self.flags).has(bits)
    }

    /// Why memory of this kind can't be carried, and what to do.
    #[must_use]
    pub fn refused(&self) -> Option<(&'static str, &'static str)> {
        if self.has(VmFlags::HUGE_TLB) {
            return Some((
                "pages of the machine's pool of huge pages can't be carried",
                "Start the program without huge pages (transparent ones are no obstacle).",
            ));
        }
        self.has(VmFlags::SHADOW_STACK).then_some((
            "shadow stacks can't be carried yet",
            "Start the program with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off.",
        ))
    }

    /// Whether mmap(2) would be asked for the same.
    #[must_use]
    pub fn made_like(&self, other: &Self) -> bool {
        let made = VmFlags::GROWS_DOWN | VmFlags::NO_RESERVE | VmFlags::MAY_WRITE;
        self.flags & made == other.flags & made
    }

    /// The MAP_* flags that they come from.
    #[must_use]
    pub fn map_flags(&self) -> i32 {
        let on = |bit, flag| if self.has(bit) { flag } else { 0 };
        on(VmFlags::GROWS_DOWN, libc::MAP_GROWSDOWN) | on(VmFlags::NO_RESERVE, libc::MAP_NORESERVE)
    }
}

/// The protection that a mapping has until it is filled. What was writable once is so again: the kernel accounts for it
/// from then on, and joins and moves only what is accounted for alike; and it can be filled at once instead of page by
/// page.
#[must_use]
pub fn filling_protection(m: &Mapping) -> i32 {
    let was_writable = !m.shared && m.traits.has(VmFlags::ACCOUNTED);
    if was_writable { m.prot | libc::PROT_WRITE } else { m.prot }
}

/// Adds the calls that ask for it all again. The pages are there, and nothing is mapped or moved any more.
pub fn restore(mappings: &[Mapping], batch: &mut Batch) {
    for m in mappings {
        let (start, len) = (m.start, m.end - m.start);
        if filling_protection(m) != m.prot && m.traits.key == 0 {
            let args = [start.into(), len.into(), m.prot.into()];
            batch.must("protecting memory", libc::SYS_mprotect, &args);
        }
        if m.traits.key != 0 {
            batch.must(
                "giving memory its protection key",
                libc::SYS_pkey_mprotect,
                &[start.into(), len.into(), m.prot.into(), m.traits.key.into()],
            );
        }
        for (_, advice) in ADVICE.iter().filter(|(flag, _)| m.traits.has(*flag)) {
            let call = [start.into(), len.into(), (*advice).into()];
            // Who relies on these two keeps secrets by them.
            if matches!(*advice, libc::MADV_DONTFORK | libc::MADV_WIPEONFORK) {
                batch.must("giving advice on memory", libc::SYS_madvise, &call);
            } else {
                // A kernel built without it runs the program all the same.
                batch.may("giving advice on memory", libc::SYS_madvise, &call);
            }
        }
        if m.traits.has(VmFlags::LOCKED) {
            let flags = if m.traits.has(VmFlags::LOCKED_ON_FAULT) { MLOCK_ONFAULT } else { 0 };
            // This machine may allow less; the memory can be swapped out then.
            batch.may("locking memory", libc::SYS_mlock2, &[start.into(), len.into(), flags.into()]);
        }
        if !m.traits.name.is_empty() {
            let name = batch.c_string(&m.traits.name);
            batch.may(
                "naming memory",
                libc::SYS_prctl,
                &[PR_SET_VMA.into(), PR_SET_VMA_ANON_NAME.into(), start.into(), len.into(), name.into()],
            );
        }
    }
    // Last, since nothing can be changed afterwards.
    for m in mappings.iter().filter(|m| m.traits.has(VmFlags::SEALED)) {
        // An older kernel has no seals.
        batch.may("sealing memory", SYS_MSEAL, &[m.start.into(), (m.end - m.start).into(), 0.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Backing;

    fn area(name: &[u8], shared: bool, prot: i32) -> Area {
        Area {
            start: 0x1000,
            end: 0x2000,
            prot,
            shared,
            offset: 0,
            device: (0, 1),
            inode: 0,
            name: name.to_vec(),
        }
    }

    #[test]
    fn names_and_rights_are_told_apart() {
        let details =
            Details { flags: VmFlags(VmFlags::MAY_WRITE | VmFlags::MARKED), key: 2, populated: true };
        let own = Traits::of(&area(b"[anon:heap x]", false, 3), &details);
        assert_eq!((own.name.as_slice(), own.flags, own.key), (b"heap x".as_slice(), 0, 2));
        let shared = Traits::of(&area(b"[anon_shmem:ring]", true, 3), &details);
        assert_eq!((shared.name.as_slice(), shared.flags), (b"ring".as_slice(), VmFlags::MAY_WRITE));
        assert_eq!(Traits::of(&area(b"/a", true, libc::PROT_EXEC), &details).key, 0);
    }

    #[test]
    fn a_seal_comes_after_everything_else() {
        let traits = |flags| Traits { flags, ..Traits::default() };
        let mapping = |start: u64, flags| Mapping {
            start,
            end: start + 0x1000,
            prot: 3,
            shared: false,
            traits: traits(flags),
            backing: Backing::Anonymous,
        };
        let mut batch = Batch::new();
        restore(
            &[mapping(0x1000, VmFlags::SEALED), mapping(0x2000, VmFlags::LOCKED | VmFlags::RANDOM)],
            &mut batch,
        );
        assert_eq!(batch.len(), 3);
        assert!(traits(VmFlags::HUGE_TLB).refused().is_some() && traits(VmFlags::LOCKED).refused().is_none());
        assert!(!traits(VmFlags::GROWS_DOWN).made_like(&Traits::default()));
        assert!(traits(VmFlags::LOCKED).made_like(&Traits::default()));
    }
}
