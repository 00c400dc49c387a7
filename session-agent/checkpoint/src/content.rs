//! What a file contains, in short: its size and the blake3 hash of all of it, or of a [sample](Sample) of what is
//! written and so never the same for long.
//!
//! Two machines agree on a file when both agree. Hashing a big file takes long, so results are kept
//! by device, inode, size and times of change: what is hashed before the freeze costs nothing in it, and
//! what one keeper of this user has hashed costs the next one nothing ([`keep_in`]).
//!
//! Not kept: files changed within the last seconds, which may change again within the same tick of
//! their file system's clock.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roam_sys::{descriptor, mapped};
use serde::{Deserialize, Serialize};

/// Size and hash of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Content {
    /// In bytes.
    pub size: u64,
    /// blake3 of all bytes.
    pub hash: [u8; 32],
}

/// Size of a file, and a hash of its beginning, its end and some places between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sample {
    /// In bytes.
    pub size: u64,
    /// blake3 of what was looked at; none for a file that can't be read.
    pub hash: Option<[u8; 32]>,
}

/// Which file, as of when: device, inode, size, seconds and nanoseconds of the last change of content and of
/// the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version([u64; 7]);

/// Device and inode in /proc/PID/maps.
pub type MapsName = ((u32, u32), u64);

/// More are forgotten all at once; a session has a few hundred.
const MOST: usize = 1 << 16;
/// A file that changed less than this ago is hashed anew each time.
const SETTLED: Duration = Duration::from_secs(2);
/// A record: version, hash, checksum.
const RECORD: usize = 56 + 32 + 8;

#[derive(Default)]
struct Known {
    contents: HashMap<Version, Content>,
    names: HashMap<Version, MapsName>,
    /// Where others find it, if anywhere.
    file: Option<PathBuf>,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Does something with what is known.
fn with_known<T>(act: impl FnOnce(&mut Known) -> T) -> T {
    act(KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Shares what is hashed with other processes of this user through a list in this file: records that stand each
/// for itself, appended whole. A list that is damaged or can't be used is as none.
pub fn keep_in(path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_default();
    if bytes.len() > 2 * MOST * RECORD {
        let _ = std::fs::remove_file(path);
    }
    with_known(|known| {
        known.contents.extend(bytes.chunks_exact(RECORD).filter_map(parse).take(MOST));
        known.file = Some(path.to_owned());
    });
}

impl Version {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self([
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime() as u64,
            meta.mtime_nsec() as u64,
            meta.ctime() as u64,
            meta.ctime_nsec() as u64,
        ]))
    }

    fn is_settled(&self) -> bool {
        has_settled(self.0[5].cast_signed())
    }
}

/// Whether what changed last at this time (seconds since the epoch) has not just changed.
#[must_use]
pub fn has_settled(changed: i64) -> bool {
    let changed = UNIX_EPOCH + Duration::from_secs(changed.try_into().unwrap_or(0));
    SystemTime::now().duration_since(changed).is_ok_and(|ago| ago > SETTLED)
}

impl Content {
    /// Of an open, readable file. Its position is not touched.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let version = Version::of(file)?;
        let found = with_known(|known| known.contents.get(&version).copied());
        if let Some(content) = found {
            return Ok(content);
        }
        let content = Self { size: version.0[2], hash: hash(file)? };
        if version.is_settled() {
            remember(version, content);
        }
        Ok(content)
    }
}

impl Sample {
    /// Of the first `size` bytes of an open file, if it can be read. Its position is not touched, and what is read
    /// has a bound, however large it is.
    ///
    /// # Errors
    /// If reading fails.
    pub fn of(file: Option<&File>, size: u64) -> io::Result<Self> {
        let Some(file) = file else { return Ok(Self { size, hash: None }) };
        let mut hasher = blake3::Hasher::new();
        for (at, length) in pieces(size) {
            let mut piece = vec![0; length];
            // One that has become shorter meanwhile is another.
            let n = read_up_to(file, &mut piece, at)?;
            hasher.update(&piece[..n]);
        }
        Ok(Self { size, hash: Some(*hasher.finalize().as_bytes()) })
    }
}

/// What a sample looks at, by offset and length: so much at both ends…
const EDGE: u64 = 16 << 10;
/// …and so many pages between.
const BETWEEN: u64 = 16;
const PIECE: u64 = 4096;

fn pieces(size: u64) -> Vec<(u64, usize)> {
    if size <= 2 * EDGE + BETWEEN * PIECE {
        return vec![(0, size as usize)];
    }
    let step = (size - 2 * EDGE) / (BETWEEN + 1);
    let between = (1..=BETWEEN).map(|i| ((EDGE + step * i) / PIECE * PIECE, PIECE as usize));
    let edges = [(0, EDGE as usize), (size - EDGE, EDGE as usize)];
    edges.into_iter().chain(between).collect()
}

fn read_up_to(file: &File, mut room: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut read = 0;
    while !room.is_empty() {
        match file.read_at(room, at) {
            Ok(0) => break,
            Ok(n) => {
                (read, at) = (read + n, at + n as u64);
                room = &mut room[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}

/// File systems (statfs(2)) that other machines write to, or may: NFS, SMB, Ceph, AFS, 9P, FUSE, Coda, GFS2, OCFS2, Lustre,
/// GPFS, BeeGFS. On any other whoever can read a file reads what was written last.
const SHARED: [libc::c_long; 15] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x5346_414f,
    0x6b41_4653,
    0x0102_1997,
    0x6573_5546,
    0x7375_7245,
    0x0116_1970,
    0x7461_636f,
    0x0bd0_0bd0,
    0x4750_4653,
    0x1983_0326,
];

/// Has what was written into an open file where other machines see it, if it may be on a file server: what this one
/// has in its memory only, another does not read. The file is one of the caller's own: of a failure that the server
/// tells of late each open file is told once, and that of the program is for the program.
///
/// # Errors
/// If it can't be written there, such as a full disk of the server's.
pub fn settle(file: &File) -> io::Result<()> {
    match file.sync_data() {
        // What keeps nothing has nothing to write.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EROFS)) => Ok(()),
        other => other,
    }
}

/// Whether a file may be on a file server.
///
/// # Errors
/// As fstatfs(2).
pub fn is_shared(file: &File) -> io::Result<bool> {
    Ok(SHARED.contains(&descriptor::file_system(file.as_fd())?))
}

/// What the kernel calls an open, readable file in lists of mappings, where that is not what stat(2) says
/// ([`mapped::identity`]).
///
/// # Errors
/// If it can't be mapped.
pub fn maps_name(file: &File) -> io::Result<MapsName> {
    let version = Version::of(file)?;
    if let Some(name) = with_known(|known| known.names.get(&version).copied()) {
        return Ok(name);
    }
    let name = mapped::identity(file)?;
    with_known(|known| {
        if known.names.len() >= MOST {
            known.names.clear();
        }
        known.names.insert(version, name);
    });
    Ok(name)
}

fn remember(version: Version, content: Content) {
    let list = with_known(|known| {
        if known.contents.len() >= MOST {
            known.contents.clear();
        }
        known.contents.insert(version, content);
        known.file.clone()
    });
    if let Some(path) = list {
        // Without the list the file is hashed again some day: nothing is lost.
        let _ = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut list| list.write_all(&record(version, content)));
    }
}

fn record(version: Version, content: Content) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    for (room, value) in bytes.chunks_exact_mut(8).zip(version.0) {
        room.copy_from_slice(&value.to_le_bytes());
    }
    bytes[56..88].copy_from_slice(&content.hash);
    let sum = checksum(&bytes);
    bytes[88..].copy_from_slice(&sum);
    bytes
}

fn parse(bytes: &[u8]) -> Option<(Version, Content)> {
    if bytes.get(88..RECORD)? != checksum(bytes) {
        return None;
    }
    let mut version = [0; 7];
    for (value, stored) in version.iter_mut().zip(bytes.chunks_exact(8)) {
        *value = u64::from_le_bytes(stored.try_into().ok()?);
    }
    Some((Version(version), Content { size: version[2], hash: bytes[56..88].try_into().ok()? }))
}

fn checksum(record: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(&record[..88]).as_bytes()[..8]);
    short
}

fn hash(file: &File) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(*hasher.finalize().as_bytes()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_has_another_content() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one").unwrap();
        let one = Content::of(&file).unwrap();
        assert_eq!(one, Content::of(&file).unwrap());
        assert_eq!((one.size, one.hash), (3, *blake3::hash(b"one").as_bytes()));
        // Of the same length, and maybe within the same tick of the clock.
        file.write_all_at(b"two", 0).unwrap();
        assert_ne!(one, Content::of(&file).unwrap());
    }

    #[test]
    fn a_sample_is_bounded_and_sees_both_ends_and_between() {
        let file = tempfile::tempfile().unwrap();
        for size in [0, 1, 4096, 2 * EDGE + BETWEEN * PIECE, 2 * EDGE + BETWEEN * PIECE + 1, 1 << 40] {
            file.set_len(size).unwrap();
            let pieces = pieces(size);
            assert!(pieces.iter().map(|p| p.1 as u64).sum::<u64>() <= 2 * EDGE + BETWEEN * PIECE);
            assert!(pieces.iter().all(|(at, length)| at + *length as u64 <= size), "{size}");
            let before = Sample::of(Some(&file), size).unwrap();
            assert_eq!(before, Sample::of(Some(&file), size).unwrap());
            for (at, _) in pieces.iter().filter(|p| p.1 > 0) {
                file.write_all_at(b"x", *at).unwrap();
                assert_ne!(before, Sample::of(Some(&file), size).unwrap(), "at {at} of {size}");
                file.write_all_at(b"\0", *at).unwrap();
            }
        }
        assert_eq!(Sample::of(None, 7).unwrap(), Sample { size: 7, hash: None });
    }

    #[test]
    fn what_was_appended_is_not_in_the_sample_of_what_was() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"a log", 0).unwrap();
        let before = Sample::of(Some(&file), 5).unwrap();
        file.write_all_at(b", and more", 5).unwrap();
        assert_eq!(before, Sample::of(Some(&file), 5).unwrap());
        settle(&file).unwrap();
        assert!(!is_shared(&file).unwrap(), "tests run on a disk of this machine");
    }

    #[test]
    fn a_record_comes_back_and_a_damaged_one_does_not() {
        let version = Version([1, 2, 3, 4, 5, 6, 7]);
        let content = Content { size: 3, hash: [9; 32] };
        let good = record(version, content);
        assert_eq!(parse(&good), Some((version, content)));
        for at in 0..RECORD {
            let mut bad = good;
            bad[at] ^= 1;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
        assert_eq!(parse(&good[..50]), None);
    }
}
