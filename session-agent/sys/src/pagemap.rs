//! Which pages a process has in memory of its own, and which it has written since they were
//! last looked at: /proc/PID/pagemap with the PAGEMAP_SCAN ioctl (Linux 6.7), or its plain 64-bit
//! entries where the kernel is older.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::runs::{self, Run, push};

mod entries;

pub use entries::Entries;

const PAGE: u64 = 4096;

/// Page lies in an area that is registered for asynchronous write protection.
const PAGE_IS_WPALLOWED: u64 = 1 << 0;
/// Page is write-protected no more: written since it was armed.
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
/// A guard page (MADV_GUARD_INSTALL). Linux 6.13 has them, 6.15 shows them.
const PAGE_IS_GUARD: u64 = 1 << 8;

const PM_SCAN_WP_MATCHING: u64 = 1 << 0;

/// Regions asked for at a time. No more than the kernel's own buffer holds: where it fills that several
/// times in one call and then reaches the end, the `walk_end` it returns is of an earlier time (seen on 6.18).
const REGIONS: usize = 512;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// /proc/PID/pagemap, open.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    scan: bool,
}

impl Pagemap {
    /// Opens it.
    ///
    /// # Errors
    /// EACCES without ptrace access, ENOENT if the process is gone.
    pub fn open(pid: i32) -> io::Result<Self> {
        let file = File::open(format!("/proc/{pid}/pagemap"))?;
        Ok(Self { file, scan: scan_supported() })
    }

    /// Whether it uses PAGEMAP_SCAN.
    #[must_use]
    pub fn scans(&self) -> bool {
        self.scan
    }

    /// Opens it and never uses PAGEMAP_SCAN, as on an old kernel.
    ///
    /// # Errors
    /// As [`Pagemap::open`].
    pub fn open_plain(pid: i32) -> io::Result<Self> {
        Ok(Self { file: File::open(format!("/proc/{pid}/pagemap"))?, scan: false })
    }

    /// The runs of pages in these ascending ranges that the process has for itself: present or swapped, and not
    /// a file's. Nor the zero page's where there is PAGEMAP_SCAN; the plain entries don't tell it from others.
    ///
    /// # Errors
    /// As the ioctl or read.
    pub fn own_pages(&self, ranges: &[Run]) -> io::Result<Vec<Run>> {
        if self.scan {
            return Ok(self.survey(ranges)?.own);
        }
        Ok(self.entries(ranges)?.own)
    }

    /// The runs of pages in these ascending ranges that the process can use without asking for memory, whoever
    /// else has them.
    ///
    /// # Errors
    /// As the ioctl or read.
    pub fn touched(&self, ranges: &[Run]) -> io::Result<Vec<Run>> {
        if !self.scan {
            return self.there(ranges);
        }
        let mut touched = Vec::new();
        let any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
        let scan = ScanArg { category_anyof_mask: any, return_mask: any, ..hull(ranges) };
        self.scan(scan, |run, _| push(&mut touched, run))?;
        Ok(runs::intersection(&touched, ranges))
    }

    /// The process's own pages in these ascending ranges, and which of them may have been written since they
    /// were armed last. One walk over the whole address space.
    ///
    /// # Errors
    /// As the ioctl.
    pub fn survey(&self, ranges: &[Run]) -> io::Result<Survey> {
        // Matching pages have none of the inverted bits set, and one of present or swapped.
        let guard = if guards_shown() { PAGE_IS_GUARD } else { 0 };
        let excluded = PAGE_IS_PFNZERO | PAGE_IS_FILE | guard;
        let mut survey = Survey::default();
        let scan = ScanArg {
            category_inverted: excluded,
            category_mask: excluded,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_SWAPPED,
            ..hull(ranges)
        };
        self.scan(scan, |run, categories| {
            push(&mut survey.own, run);
            // What looks swapped out may also be the mark that an armed page of a file leaves when it is
            // dropped: then it reads as the file does.
            if categories != PAGE_IS_WPALLOWED {
                push(&mut survey.changed, run);
            }
        })?;
        survey.own = runs::intersection(&survey.own, ranges);
        survey.changed = runs::intersection(&survey.changed, ranges);
        Ok(survey)
    }

    /// The runs of pages between these ranges' ends that are there and were written since the last call,
    /// armed again at once. Areas that are not registered for asynchronous write protection are passed
    /// over. Pages that are not there are left alone: arming them would leave marks that look like
    /// swapped pages.
    ///
    /// # Errors
    /// As the ioctl.
    pub fn written_and_rearm(&self, ranges: &[Run]) -> io::Result<Vec<Run>> {
        let mut written = Vec::new();
        let scan = ScanArg {
            flags: PM_SCAN_WP_MATCHING,
            category_mask: PAGE_IS_WRITTEN,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_WRITTEN,
            ..hull(ranges)
        };
        self.scan(scan, |run, _| push(&mut written, run))?;
        Ok(written)
    }

    /// The guard pages between these ranges' ends (MADV_GUARD_INSTALL): touching one is a SIGSEGV. None where
    /// the kernel does not show them.
    ///
    /// # Errors
    /// As the ioctl.
    pub fn guards(&self, ranges: &[Run]) -> io::Result<Vec<Run>> {
        let mut guards = Vec::new();
        if self.scan && guards_shown() {
            let scan = ScanArg { category_mask: PAGE_IS_GUARD, return_mask: PAGE_IS_GUARD, ..hull(ranges) };
            self.scan(scan, |run, _| push(&mut guards, run))?;
        }
        Ok(guards)
    }

    fn scan(&self, mut arg: ScanArg, mut found: impl FnMut(Run, u64)) -> io::Result<()> {
        let mut regions = vec![Region::default(); REGIONS];
        arg.size = size_of::<ScanArg>() as u64;
        arg.vec = regions.as_mut_ptr() as u64;
        arg.vec_len = regions.len() as u64;
        let end = arg.end;
        while arg.start < end {
            // SAFETY: arg and the vector it names are live and as large as said.
            let got = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            if got < 0 {
                return Err(io::Error::last_os_error());
            }
            for region in &regions[..got as usize] {
                found(Run { start: region.start, end: region.end }, region.categories);
            }
            // Room was left: all of the range was looked at.
            if (got as usize) < REGIONS || arg.walk_end <= arg.start {
                break;
            }
            arg.start = arg.walk_end;
        }
        Ok(())
    }
}

/// What a process has for itself, by [`Pagemap::survey`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Survey {
    /// All its own pages.
    pub own: Vec<Run>,
    /// Those of them that were written since they were armed, or lie where writes are not noted.
    pub changed: Vec<Run>,
}

/// A scan from the first to the last of these ranges.
fn hull(ranges: &[Run]) -> ScanArg {
    let start = ranges.first().map_or(0, |r| r.start);
    ScanArg { start, end: ranges.last().map_or(start, |r| r.end), ..ScanArg::default() }
}

/// Whether this kernel has PAGEMAP_SCAN, asked once.
pub fn scan_supported() -> bool {
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        probe(0).is_ok_and(|got| got >= 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOTTY))
    })
}

/// Whether this kernel tells guard pages from others, asked once.
fn guards_shown() -> bool {
    static SHOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SHOWN.get_or_init(|| probe(PAGE_IS_GUARD).is_ok_and(|got| got >= 0))
}

fn probe(category: u64) -> io::Result<libc::c_int> {
    let file = File::open("/proc/self/pagemap")?;
    let mut arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        category_mask: category,
        return_mask: category,
        ..ScanArg::default()
    };
    // SAFETY: an empty range with no vector; the kernel only checks the argument.
    Ok(unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_pages_are_found_by_both_ways() {
        let mut block = vec![0u8; 64 * PAGE as usize];
        let first = (block.as_ptr() as u64).next_multiple_of(PAGE);
        let offset = (first - block.as_ptr() as u64) as usize;
        for page in [3usize, 4, 9] {
            block[offset + page * PAGE as usize] = 1;
        }
        let pid = std::process::id() as i32;
        let (start, end) = (first, first + 32 * PAGE);
        for map in [Pagemap::open(pid).unwrap(), Pagemap::open_plain(pid).unwrap()] {
            let touched = map.touched(&[Run { start, end }]).unwrap();
            assert!(touched.iter().any(|r| r.start <= first + 9 * PAGE && first + 9 * PAGE < r.end));
            let runs = map.own_pages(&[Run { start, end }]).unwrap();
            let has = |page: u64| {
                runs.iter().any(|r| r.start <= first + page * PAGE && first + page * PAGE < r.end)
            };
            assert!(has(3) && has(4) && has(9), "{runs:?}");
        }
        assert!(block[offset + 9 * PAGE as usize] == 1);
    }

    #[test]
    fn many_runs_are_found_once_and_in_order() {
        for count in [1, 511, 512, 513, 700, 1023, 1024, 1025, 2000] {
            let mut block = vec![0u8; (2 * count + 2) * PAGE as usize];
            let first = (block.as_ptr() as u64).next_multiple_of(PAGE);
            let offset = (first - block.as_ptr() as u64) as usize;
            // SAFETY: advice about our own memory; with huge pages its neighbours would come along.
            unsafe {
                let len = 2 * count * PAGE as usize;
                libc::madvise(block.as_mut_ptr().add(offset).cast(), len, libc::MADV_NOHUGEPAGE);
            }
            let wanted: Vec<Run> = (0..count as u64)
                .map(|i| first + (2 * i + 1) * PAGE)
                .map(|start| Run { start, end: start + PAGE })
                .collect();
            for i in 0..count {
                block[offset + (2 * i + 1) * PAGE as usize] = 1;
            }
            let pid = std::process::id() as i32;
            // From the second page on: the allocator's own header may be on the first.
            let (start, end) = (first + PAGE, first + 2 * count as u64 * PAGE);
            for map in [Pagemap::open(pid).unwrap(), Pagemap::open_plain(pid).unwrap()] {
                assert_eq!(map.own_pages(&[Run { start, end }]).unwrap(), wanted, "{count} runs");
            }
        }
    }
}
