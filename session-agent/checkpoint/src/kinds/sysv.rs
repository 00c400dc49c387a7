//! System V shared memory: segments under the ids that programs hold, attached or not, locked, or marked
//! for removal.
//!
//! A part of a segment that is mapped (the rest was unmapped, or has another protection) stays a part of
//! the same attachment, so that shmdt(2) finds all of it.
//!
//! What differs afterwards: creator's and last user's pid and the times, which no call can set.

use std::collections::HashMap;

use roam_sys::batch::{Batch, Done, RetOf};
use roam_sys::procfs::smaps::VmFlags;

use super::helper::Helper;
use super::ipc::{self, check_id, column, lines, want_id};
use super::memory::{ObjectViews, View};
use crate::error::Error;
use crate::objects::{Object, ObjectId, ObjectKind, Objects};
use crate::pages::{Backing, Mapping, PAGE};
use crate::restore::stub::Stub;

/// What stands for the device of segments among objects; their inode is their id.
pub const DEVICE: u64 = u64::MAX;
/// The segment goes with its last user.
pub const SHM_DEST: u32 = 0o1000;
/// Its memory is locked.
const SHM_LOCKED: u32 = 0o2000;

/// A segment that nobody has attached.
#[derive(Debug)]
pub struct Unattached {
    /// As what it travels.
    pub object: ObjectId,
    shmid: i32,
    /// In bytes.
    pub size: u64,
}

/// How often each segment of the list is mapped, by the kernel's count.
pub type Attached = HashMap<ObjectId, usize>;

/// Registers every segment of the list; returns those that nobody has attached.
pub fn register(text: &str, objects: &mut Objects) -> (Vec<Unattached>, Attached) {
    let (mut unattached, mut attached) = (Vec::new(), Attached::new());
    for segment in parse(text) {
        let kind = ObjectKind::SysV { shmid: segment.shmid, key: segment.key, mode: segment.mode };
        objects.replace(DEVICE, segment.shmid as u64, Object { kind, size: segment.size });
        let Some(object) = objects.find(DEVICE, segment.shmid as u64) else { continue };
        attached.insert(object, segment.attached as usize);
        if segment.attached == 0 {
            unattached.push(Unattached { object, shmid: segment.shmid, size: segment.size });
        }
    }
    (unattached, attached)
}

/// The process, as the keeper sees it, of a segment that is mapped more often than the kernel counts: one of them is
/// another namespace's segment of the same id.
#[must_use]
pub fn stranger(attached: &Attached, views: &ObjectViews) -> Option<i32> {
    let too_many = |(object, views): (&ObjectId, &Vec<View>)| {
        attached.get(object).is_some_and(|count| views.len() > *count).then(|| views.last().map(|v| v.host))
    };
    views.iter().find_map(too_many).flatten()
}

/// Why such memory is refused, and what helps.
pub const OF_NO_LIST: (&str, &str) = (
    "it is System V shared memory of an ipc namespace that the session is not in",
    "Let the program detach it, then try again.",
);

/// Attaches a segment in the helper, for reading it there.
///
/// # Errors
/// If it can't.
pub fn attach_in_helper(segment: &Unattached, helper: &mut Helper) -> Result<u64, Error> {
    let mut batch = Batch::new();
    let attach = [segment.shmid.into(), 0.into(), libc::SHM_RDONLY.into()];
    let address = batch.must("attaching shared memory", libc::SYS_shmat, &attach);
    Ok(helper.run(&batch)?.ret(address) as u64)
}

#[derive(Debug, PartialEq, Eq)]
struct Segment {
    key: i32,
    shmid: i32,
    mode: u32,
    size: u64,
    attached: u32,
}

fn parse(text: &str) -> Vec<Segment> {
    lines(text)
        .filter_map(|words| {
            Some(Segment {
                key: ipc::key(&words)?,
                shmid: column(&words, 1)?,
                mode: ipc::mode(&words)?,
                size: column(&words, 3)?,
                attached: column(&words, 6)?,
            })
        })
        .collect()
}

/// The calls that made a segment.
pub struct Made {
    got: RetOf,
    address: RetOf,
}

/// Adds the calls that make a segment in the holder and attach it there.
pub fn restore(shmid: i32, key: i32, mode: u32, size: u64, batch: &mut Batch) -> Made {
    want_id("shm", shmid, batch);
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | (mode & 0o777) as i32;
    let got = batch.must("making shared memory", libc::SYS_shmget, &[key.into(), size.into(), flags.into()]);
    let address = batch.must("attaching shared memory", libc::SYS_shmat, &[got.into(), 0.into(), 0.into()]);
    Made { got, address }
}

impl Made {
    /// Where the holder has it.
    ///
    /// # Errors
    /// If the kernel gave another id.
    pub fn check(&self, done: &Done, shmid: i32) -> Result<u64, Error> {
        check_id(done, self.got, shmid)?;
        Ok(done.ret(self.address) as u64)
    }
}

/// Adds what a segment gets once everybody has it attached.
pub fn finish(shmid: i32, mode: u32, batch: &mut Batch) {
    if mode & SHM_LOCKED != 0 {
        // The limit of locked memory is this machine's to set; the program runs without, too.
        let lock = [shmid.into(), libc::SHM_LOCK.into(), 0.into()];
        batch.may("locking shared memory", libc::SYS_shmctl, &lock);
    }
    if mode & SHM_DEST != 0 {
        let remove = [shmid.into(), libc::IPC_RMID.into(), 0.into()];
        batch.must("marking shared memory for removal", libc::SYS_shmctl, &remove);
    }
}

/// One attachment of a process: the parts of a segment that are mapped as one shmat(2) left them.
#[derive(Debug, PartialEq, Eq)]
pub struct Attachment<'a> {
    object: ObjectId,
    /// Where the whole segment would begin.
    base: u64,
    /// Its parts.
    pub parts: Vec<&'a Mapping>,
}

/// The attachments among the mappings of a process. `is_segment` tells which objects are segments.
pub fn attachments<'a>(
    mappings: &'a [Mapping],
    is_segment: impl Fn(ObjectId) -> bool,
) -> Vec<Attachment<'a>> {
    let mut found: Vec<Attachment<'a>> = Vec::new();
    for mapping in mappings {
        let Backing::Object { object, offset } = mapping.backing else { continue };
        if !is_segment(object) {
            continue;
        }
        let base = mapping.start.wrapping_sub(offset);
        let same = |a: &&mut Attachment<'a>| {
            // The same part twice is of two attachments.
            a.object == object
                && a.base == base
                && a.parts.iter().all(|p| p.end <= mapping.start || mapping.end <= p.start)
        };
        match found.iter_mut().find(same) {
            Some(attachment) => attachment.parts.push(mapping),
            None => found.push(Attachment { object, base, parts: vec![mapping] }),
        }
    }
    found
}

impl Attachment<'_> {
    /// Which segment.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        self.object
    }

    /// Attaches the segment and moves its parts to where they were.
    ///
    /// # Errors
    /// If a call fails.
    pub fn attach(&self, shmid: i32, size: u64, stub: &mut Stub) -> Result<(), Error> {
        let whole = size.next_multiple_of(PAGE);
        let may_write = |p: &&Mapping| p.traits.has(VmFlags::MAY_WRITE) || p.prot & libc::PROT_WRITE != 0;
        let flags = if self.parts.iter().any(may_write) { 0 } else { libc::SHM_RDONLY };
        let mut batch = Batch::new();
        let whole_at = |p: &&Mapping| p.start == self.base && p.end == self.base + whole;
        if let [part] = self.parts[..]
            && whole_at(&part)
        {
            let attach = [shmid.into(), self.base.into(), flags.into()];
            batch.must("attaching shared memory", libc::SYS_shmat, &attach);
        } else {
            let attach = [shmid.into(), 0.into(), flags.into()];
            let at = batch.must("attaching shared memory", libc::SYS_shmat, &attach);
            let at = stub.run(&std::mem::take(&mut batch))?.ret(at) as u64;
            let mut next = 0;
            for part in &self.parts {
                let (offset, len) = (part.start - self.base, part.end - part.start);
                let to = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).into();
                let remap = [(at + offset).into(), len.into(), len.into(), to, part.start.into()];
                batch.must("moving shared memory", libc::SYS_mremap, &remap);
                if next < offset {
                    let rest = [(at + next).into(), (offset - next).into()];
                    batch.must("unmapping shared memory", libc::SYS_munmap, &rest);
                }
                next = offset + len;
            }
            if next < whole {
                let rest = [(at + next).into(), (whole - next).into()];
                batch.must("unmapping shared memory", libc::SYS_munmap, &rest);
            }
        }
        for part in self.parts.iter().filter(|p| p.prot != libc::PROT_READ | libc::PROT_WRITE) {
            let protect = [part.start.into(), (part.end - part.start).into(), part.prot.into()];
            batch.must("protecting shared memory", libc::SYS_mprotect, &protect);
        }
        stub.run(&batch).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_parses() {
        let text = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
                    305419896         98  1600                  8192    17    18      2  1000  1000  1000  1000\n";
        assert_eq!(
            parse(text),
            [Segment { key: 0x1234_5678, shmid: 98, mode: 0o1600, size: 8192, attached: 2 }]
        );
    }

    #[test]
    fn more_mappings_than_the_kernel_counts_are_of_somebody_else() {
        let (id, other) = (ObjectId(3), ObjectId(4));
        let view = |host| View { host, address: 0, offset: 0, len: PAGE, prot: 3, shared: true };
        let views = ObjectViews::from([(id, vec![view(7), view(8)]), (other, vec![view(9)])]);
        assert_eq!(stranger(&Attached::from([(id, 2)]), &views), None);
        assert_eq!(stranger(&Attached::from([(id, 3)]), &views), None, "somebody outside has it as well");
        assert_eq!(stranger(&Attached::from([(id, 1)]), &views), Some(8));
    }

    #[test]
    fn parts_of_one_attachment_stay_together() {
        let part = |start: u64, pages: u64, offset: u64| Mapping {
            start,
            end: start + pages * PAGE,
            prot: 3,
            shared: true,
            traits: crate::kinds::memory_traits::Traits::default(),
            backing: Backing::Object { object: ObjectId(1), offset },
        };
        let mappings = [part(0x10000, 1, 0), part(0x12000, 1, 0x2000), part(0x50000, 3, 0)];
        let found = attachments(&mappings, |_| true);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].base, found[0].parts.len()), (0x10000, 2));
        assert_eq!((found[1].base, found[1].parts.len()), (0x50000, 1));
        assert!(attachments(&mappings, |_| false).is_empty());
    }
}
