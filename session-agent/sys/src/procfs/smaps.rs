//! /proc/PID/smaps (proc(5)): the areas of /proc/PID/maps with what only this file tells of them, the flags
//! that madvise, mlock and their kin have set and the protection key. The kernel walks all page tables for it:
//! about ten milliseconds for each GiB in memory.

use std::io;

use super::maps::{self, Area};

/// What a program asked for on an area, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VmFlags(pub u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal $mnemonic:literal;)*) => {
        impl VmFlags {
            $($(#[$doc])* pub const $name: u32 = 1 << $bit;)*

            /// The bit of a mnemonic of the line "VmFlags"; 0 for those that follow from others.
            fn bit(mnemonic: &[u8]) -> u32 {
                match mnemonic { $($mnemonic => Self::$name,)* _ => 0 }
            }
        }
    };
}

flags! {
    /// MAP_GROWSDOWN.
    GROWS_DOWN = 0 b"gd";
    /// MAP_NORESERVE.
    NO_RESERVE = 1 b"nr";
    /// Counted against the machine's memory.
    ACCOUNTED = 2 b"ac";
    /// mlock.
    LOCKED = 3 b"lo";
    /// MLOCK_ONFAULT.
    LOCKED_ON_FAULT = 4 b"lf";
    /// MADV_SEQUENTIAL.
    SEQUENTIAL = 5 b"sr";
    /// MADV_RANDOM.
    RANDOM = 6 b"rr";
    /// MADV_DONTFORK.
    DONT_FORK = 7 b"dc";
    /// MADV_WIPEONFORK.
    WIPE_ON_FORK = 8 b"wf";
    /// MADV_DONTDUMP.
    DONT_DUMP = 9 b"dd";
    /// MADV_HUGEPAGE.
    HUGE_PAGE = 10 b"hg";
    /// MADV_NOHUGEPAGE.
    NO_HUGE_PAGE = 11 b"nh";
    /// MADV_MERGEABLE.
    MERGEABLE = 12 b"mg";
    /// mseal.
    SEALED = 13 b"sl";
    /// Pages of hugetlbfs, MAP_HUGETLB.
    HUGE_TLB = 14 b"ht";
    /// A shadow stack.
    SHADOW_STACK = 15 b"ss";
    /// May be made writable: a shared mapping lacks it if its file was open for reading only.
    MAY_WRITE = 16 b"mw";
    /// Registered with a userfaultfd for write protection, which only the engine does in a session.
    MARKED = 17 b"uw";
}

impl VmFlags {
    /// True if one of these bits is set.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// What smaps tells of an area.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Details {
    /// What was asked for.
    pub flags: VmFlags,
    /// The protection key; 0 is everybody's.
    pub key: u8,
    /// Some of its pages are in memory or swapped out; the zero page does not count.
    pub populated: bool,
}

/// Parses the whole file.
///
/// # Errors
/// InvalidData with the line that is no area's head.
pub fn parse(text: &[u8]) -> io::Result<Vec<(Area, Details)>> {
    let mut areas: Vec<(Area, Details)> = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        // Names of values begin with a capital, addresses are hexadecimal in small letters.
        if !line[0].is_ascii_uppercase() {
            let area = maps::parse(line)?.pop().ok_or(io::ErrorKind::InvalidData)?;
            areas.push((area, Details::default()));
            continue;
        }
        let Some((_, details)) = areas.last_mut() else { continue };
        if let Some(words) = line.strip_prefix(b"VmFlags:") {
            let bits = words.split(u8::is_ascii_whitespace).map(VmFlags::bit);
            details.flags = VmFlags(bits.fold(0, |all, bit| all | bit));
        } else if let Some(key) = line.strip_prefix(b"ProtectionKey:") {
            details.key = String::from_utf8_lossy(key).trim().parse().unwrap_or(0);
        } else if let Some(size) = line.strip_prefix(b"Rss:").or_else(|| line.strip_prefix(b"Swap:")) {
            details.populated |= size.iter().any(|byte| (b'1'..=b'9').contains(byte));
        }
    }
    Ok(areas)
}

/// Reads the areas of a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone, EACCES without ptrace access.
pub fn read(pid: i32) -> io::Result<Vec<(Area, Details)>> {
    parse(&super::read(&format!("/proc/{pid}/smaps"))?)
}

/// How much of the area at this address is swapped out, in bytes. For shared memory that counts pages that the
/// process never touched, too.
///
/// # Errors
/// As [`read`]; NotFound if nothing is mapped there.
pub fn swapped(pid: i32, address: u64) -> io::Result<u64> {
    swapped_at(&super::read(&format!("/proc/{pid}/smaps"))?, address)
}

fn swapped_at(text: &[u8], address: u64) -> io::Result<u64> {
    let mut inside = false;
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        if !line[0].is_ascii_uppercase() {
            let area = maps::parse(line)?.pop().ok_or(io::ErrorKind::InvalidData)?;
            inside = area.start <= address && address < area.end;
        } else if inside && let Some(words) = line.strip_prefix(b"Swap:") {
            let kib = String::from_utf8_lossy(words);
            let kib: u64 =
                kib.trim().trim_end_matches(" kB").parse().map_err(|_| io::ErrorKind::InvalidData)?;
            return Ok(kib << 10);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_flags_and_keys() {
        let text = b"7f0000002000-7f0000003000 rw-p 00000000 00:00 0 \nSize:                  4 kB\n\
            ProtectionKey:         3\nVmFlags: rd wr mr mw me nr lo lf dc \n\
            7f0000004000-7f0000005000 r--p 00001000 fe:01 12                  /a b\nRss: 0 kB\nVmFlags: rd mr zz \n\
            7f0000006000-7f0000007000 rw-p 00000000 00:00 0 \nRss: 0 kB\nSwap:   40 kB\nSwapPss: 40 kB\nVmFlags: uw \n";
        let areas = parse(text).unwrap();
        assert_eq!(areas.len(), 3);
        let wanted = VmFlags::NO_RESERVE
            | VmFlags::LOCKED
            | VmFlags::LOCKED_ON_FAULT
            | VmFlags::DONT_FORK
            | VmFlags::MAY_WRITE;
        assert_eq!(areas[0].1, Details { flags: VmFlags(wanted), key: 3, populated: false });
        assert_eq!((areas[1].0.name.as_slice(), areas[1].1), (b"/a b".as_slice(), Details::default()));
        assert_eq!(areas[2].1, Details { flags: VmFlags(VmFlags::MARKED), key: 0, populated: true });
    }

    #[test]
    fn what_is_swapped_out_of_an_area() {
        let text =
            b"7f0000002000-7f0000003000 rw-s 00000000 00:01 5 \nSwap:                  4 kB\nSwapPss: 1 kB\n\
            7f0000003000-7f0000005000 rw-s 00001000 00:01 5                  /x\nRss: 0 kB\nSwap:   0 kB\n";
        assert_eq!(swapped_at(text, 0x7f00_0000_2fff).unwrap(), 4096);
        assert_eq!(swapped_at(text, 0x7f00_0000_3000).unwrap(), 0);
        assert!(swapped_at(text, 0x7f00_0000_5000).is_err());
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(parse(b"hello\n").is_err());
    }

    #[test]
    fn this_process_has_a_stack_that_grows() {
        let areas = read(std::process::id() as i32).unwrap();
        let stack = areas.iter().find(|(area, _)| area.name == b"[stack]").unwrap();
        assert!(stack.1.flags.has(VmFlags::GROWS_DOWN));
    }
}
