//! System V shared memory: segments under the ids that programs hold.
//!
//! Ids are kept by telling the kernel which to give next (/proc/sys/kernel/shm_next_id). A segment that
//! nobody has attached is refused: its content could only be read by attaching it, which programs
//! can see.

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Data, Done, RetOf};

use crate::error::Error;
use crate::objects::{Object, ObjectKind, Objects};
use crate::pages::Mapping;

/// What stands for the device of segments among objects; their inode is their id.
pub const DEVICE: u64 = u64::MAX;
/// The segment goes with its last user.
pub const SHM_DEST: u32 = 0o1000;
/// Text of /proc/sysvipc/shm that is read; a line a segment.
const MOST: usize = 64 << 10;

/// The question, asked in a process of the pod: the list is of the asker's namespace.
pub struct Asked {
    text: Data,
    got: RetOf,
}

/// Adds the question to a batch.
pub fn ask(batch: &mut Batch) -> Asked {
    let path = batch.c_string(b"/proc/sysvipc/shm");
    let text = batch.room(MOST);
    let file = batch.may(
        "opening the list of System V shared memory",
        libc::SYS_openat,
        &[libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()],
    );
    let got = batch.may("reading it", libc::SYS_read, &[file.into(), text.into(), MOST.into()]);
    batch.may("closing it", libc::SYS_close, &[file.into()]);
    Asked { text, got }
}

/// Registers every segment.
///
/// # Errors
/// [`Error::Refused`] for one that nobody has attached.
pub fn register(asked: &Asked, done: &Done, objects: &mut Objects) -> Result<(), Error> {
    let len = usize::try_from(done.ret(asked.got)).unwrap_or(0);
    let text = String::from_utf8_lossy(&done.bytes(asked.text)[..len]).into_owned();
    for segment in parse(&text) {
        if segment.attached == 0 {
            return Err(Error::Refused(vec![Refusal {
                process: "session".to_owned(),
                pid: 0,
                what: format!("System V shared memory {}", segment.shmid),
                reason: "no process has it attached".to_owned(),
                remedy: "Remove it with ipcrm, or end the program that left it behind.".to_owned(),
            }]));
        }
        let kind = ObjectKind::SysV { shmid: segment.shmid, key: segment.key, mode: segment.mode };
        objects.replace(DEVICE, segment.shmid as u64, Object { kind, size: segment.size });
    }
    Ok(())
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
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            Some(Segment {
                key: words.first()?.parse::<i64>().ok()? as i32,
                shmid: words.get(1)?.parse().ok()?,
                mode: u32::from_str_radix(words.get(2)?, 8).ok()?,
                size: words.get(3)?.parse().ok()?,
                attached: words.get(6)?.parse().ok()?,
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
    let path = batch.c_string(b"/proc/sys/kernel/shm_next_id");
    let file = batch.must(
        "asking for a shared memory id",
        libc::SYS_openat,
        &[libc::AT_FDCWD.into(), path.into(), (libc::O_WRONLY | libc::O_CLOEXEC).into()],
    );
    let text = shmid.to_string();
    let number = batch.data(text.as_bytes());
    batch.must(
        "asking for a shared memory id",
        libc::SYS_write,
        &[file.into(), number.into(), text.len().into()],
    );
    batch.must("asking for a shared memory id", libc::SYS_close, &[file.into()]);
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
        if done.ret(self.got) != i64::from(shmid) {
            return Err(Error::Image(format!("the kernel did not give shared memory the id {shmid}")));
        }
        Ok(done.ret(self.address) as u64)
    }
}

/// Adds the call that attaches a segment where the process had it.
pub fn attach(shmid: i32, mapping: &Mapping, batch: &mut Batch) {
    let mut flags = 0;
    if mapping.prot & libc::PROT_WRITE == 0 {
        flags |= libc::SHM_RDONLY;
    }
    if mapping.prot & libc::PROT_EXEC != 0 {
        flags |= libc::SHM_EXEC;
    }
    batch.must(
        "attaching shared memory",
        libc::SYS_shmat,
        &[shmid.into(), mapping.start.into(), flags.into()],
    );
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
}
