//! The session's journal: one file, one writer, what must be known after a crash.
//!
//! A record is a length, a checksum and the encoded [`Record`]; it carries the boot id of the machine
//! and the session's generation. Records are appended by one write each. A torn or damaged tail
//! is cut off when the journal is opened: what was never wholly written was never said either.
//! Nothing here is synced except by [`Journal::write_synced`]: after a reboot no live copy is left anyhow.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use roam_api::codec::{decode_section, encode_section};
use roam_api::keeper::Identity;
use roam_api::session::{MachineKey, SessionSpec};
use roam_checkpoint::LockPlace;
use serde::{Deserialize, Serialize};

/// The longest record accepted.
const MAX_RECORD: usize = 16 << 20;
const HEAD: usize = 4 + 8;

/// What happened. New kinds come last: a record says which it is by its place here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Entry {
    /// The session runs here: started, resumed or received.
    Running {
        /// Who it is.
        identity: Identity,
        /// What was started.
        spec: Box<SessionSpec>,
        /// What its pod was made with, and what else its next keeper must know.
        facts: Box<Facts>,
    },
    /// Its last process ended.
    Ended {
        /// As the shell shows it.
        status: i32,
    },
    /// It was put to sleep in this file, which is synced.
    Parked {
        /// Absolute path.
        file: String,
    },
    /// It is being woken from this file, as earlier versions wrote it; now it is [`Entry::Waking`].
    Resuming {
        /// Absolute path.
        file: String,
    },
    /// A move away from here began.
    SendBegun {
        /// The move's number.
        number: u64,
        /// The target machine's name.
        to: String,
    },
    /// The move was undone: the session is here.
    SendUndone,
    /// As [`Entry::Gone`], from a version of Roam that did not write down which machine has the name.
    GoneByName {
        /// The move's number.
        number: u64,
        /// The target machine's name.
        to: String,
    },
    /// The target runs it; nothing is left here.
    SendDone,
    /// The target said that it has no copy: the session is here again, with the generation that this record carries.
    Reclaimed,
    /// A move to here began; nothing runs yet.
    ReceiveBegun {
        /// Who it will be.
        identity: Identity,
        /// The move's number.
        number: u64,
    },
    /// Everything is built and said to be; nothing runs.
    Prepared,
    /// The threads are about to be started. Without a later `Running` the session is here only if its pod is.
    Activating {
        /// Who it is.
        identity: Identity,
        /// What was started.
        spec: Box<SessionSpec>,
        /// What its keeper must know.
        facts: Box<Facts>,
    },
    /// The copy here was given up.
    ReceiveUndone,
    /// The target sees the same files: these locks are about to be given back, and the session stands still until
    /// it is gone or has them again.
    LocksGiven {
        /// The target machine's name.
        to: String,
        /// The locks.
        locks: Vec<LockPlace>,
    },
    /// From here on the target is the session. The frozen copy is kept.
    Gone {
        /// The move's number.
        number: u64,
        /// The target machine's name.
        to: String,
        /// Its key: names change hands.
        key: MachineKey,
    },
    /// It is being woken: the threads are about to be started. Without a later `Running` it sleeps in its file still,
    /// unless its pod is live.
    Waking {
        /// Who it is once it is awake.
        identity: Identity,
        /// What was started.
        spec: Box<SessionSpec>,
        /// What its keeper must know.
        facts: Box<Facts>,
        /// Absolute path.
        file: String,
    },
}

/// What the session's next keeper must know besides its spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The user's id inside the pod.
    pub uid: u32,
    /// The user's group inside the pod.
    pub gid: u32,
    /// The host name inside.
    pub hostname: String,
    /// Home.
    pub home: Vec<u8>,
    /// XDG_RUNTIME_DIR inside.
    pub runtime_dir: Vec<u8>,
    /// The environment that programs in the pod are started with.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The X server's cookie, 16 bytes, if there is one.
    pub cookie: Option<Vec<u8>>,
    /// Seconds since the epoch when the session was started.
    pub started_unix: u64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `/proc/sys/kernel/random/boot_id` of the machine.
    pub boot_id: String,
    /// The session's generation then.
    pub generation: u64,
    /// What happened.
    pub entry: Entry,
}

/// An open journal.
pub struct Journal {
    file: File,
    boot_id: String,
    end: u64,
}

impl Journal {
    /// Opens or makes the journal and returns what it holds.
    ///
    /// # Errors
    /// The file's; `InvalidData` if a newer version of Roam has written there what this one does not know.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Record>)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, good) = parse(&bytes)?;
        if good < bytes.len() {
            tracing::warn!(path = %path.display(), lost = bytes.len() - good, "the journal's torn tail was cut off");
            file.set_len(good as u64)?;
        }
        file.seek(SeekFrom::Start(good as u64))?;
        Ok((Self { file, boot_id: boot_id()?, end: good as u64 }, records))
    }

    /// Appends a record. Once this returned, the entry may be acted upon and said.
    ///
    /// # Errors
    /// The file's; the record is not there then.
    pub fn write(&mut self, generation: u64, entry: Entry) -> io::Result<()> {
        let record = Record { boot_id: self.boot_id.clone(), generation, entry };
        let bytes = encode(&record)?;
        if let Err(error) = self.file.write_all(&bytes) {
            // Take a half-written record back, so that the next one can be read.
            let _ = self.file.set_len(self.end);
            let _ = self.file.seek(SeekFrom::Start(self.end));
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// The same, and makes it survive a reboot.
    ///
    /// # Errors
    /// The file's; the record is not there then, as far as the file can still be changed.
    pub fn write_synced(&mut self, generation: u64, entry: Entry) -> io::Result<()> {
        let before = self.end;
        self.write(generation, entry)?;
        self.file.sync_all().inspect_err(|_| {
            self.end = before;
            let _ = self.file.set_len(before);
            let _ = self.file.seek(SeekFrom::Start(before));
        })
    }
}

/// This boot of this machine.
///
/// # Errors
/// If /proc can't be read.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let body = encode_section(record).map_err(io::Error::other)?;
    if body.len() > MAX_RECORD {
        return Err(io::Error::other("a journal record is too long"));
    }
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(&body));
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The records up to the first damaged one, and how many bytes they take. One that is whole and means nothing here is
/// no damage: what it says may be that the session is gone.
fn parse(bytes: &[u8]) -> io::Result<(Vec<Record>, usize)> {
    let (mut records, mut at) = (Vec::new(), 0);
    while let Some(head) = bytes[at..].first_chunk::<HEAD>() {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = bytes[at + HEAD..].get(..len).filter(|_| len <= MAX_RECORD) else { break };
        if checksum(body) != head[4..] {
            break;
        }
        records.push(decode_section(body).map_err(|e| {
            let newer = format!("a newer version of Roam wrote the session's journal ({e})");
            io::Error::new(io::ErrorKind::InvalidData, newer)
        })?);
        at += HEAD + len;
    }
    Ok((records, at))
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(body).as_bytes()[..8]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_written_is_read_and_a_torn_tail_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, records) = Journal::open(&path).unwrap();
        assert!(records.is_empty());
        journal.write(3, Entry::SendBegun { number: 9, to: "laptop".into() }).unwrap();
        let gone = Entry::Gone { number: 9, to: "laptop".into(), key: MachineKey([3; 32]) };
        journal.write(3, gone.clone()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, records) = Journal::open(&path).unwrap();
            assert!(records.len() < 2);
            journal.write(4, Entry::SendUndone).unwrap();
            let (_, again) = Journal::open(&path).unwrap();
            assert_eq!(again.len(), records.len() + 1);
            assert_eq!(again.last().unwrap().entry, Entry::SendUndone);
        }
        std::fs::write(&path, &whole).unwrap();
        let (_, records) = Journal::open(&path).unwrap();
        assert_eq!(records[1].entry, gone);
        assert_eq!(records[1].boot_id, boot_id().unwrap());
    }

    fn whole(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_le_bytes()[..], &checksum(body), body].concat()
    }

    #[test]
    fn what_an_older_version_wrote_is_read() {
        // Boot id, generation, the kind's place, number, name.
        let body = [&[2, b'i', b'd', 3, 6, 9, 6][..], b"laptop"].concat();
        let (records, good) = parse(&whole(&body)).unwrap();
        assert_eq!(good, HEAD + body.len());
        assert_eq!(records[0].entry, Entry::GoneByName { number: 9, to: "laptop".into() });
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let bytes = whole(&[2, b'i', b'd', 3, 200, 9]);
        std::fs::write(&path, &bytes).unwrap();
        let refused = Journal::open(&path).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    proptest! {
        #[test]
        fn garbage_is_no_record_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(parse(&bytes).is_ok_and(|(_, good)| good <= bytes.len()));
        }
    }
}
