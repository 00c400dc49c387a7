//! The file that a parked session sleeps in: sealed pieces, written whole or not at all.
//!
//! The outer form is `roam_api::envelope`. The key lies in the user's state folder and belongs to this
//! machine; each file has a key derived from it and a salt of its own. The nonce of a chunk is its
//! number and the tail says how many there are, so chunks can't be moved, dropped or appended unnoticed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use roam_api::codec::{append_section, decode_section, encode_section};
use roam_api::envelope::{self, EnvelopeError, HEADER_LEN, MAX_SEALED, Tail};
use roam_api::migration::{ItemRef, Part};

use crate::bundle::ItemSink;

/// The tail's nonce: no file has so many chunks.
const TAIL: u64 = u64::MAX;
/// Small pieces are gathered to so many bytes before they are written.
const GATHER: usize = 256 << 10;

/// This machine's key for parked files; made at the first use.
///
/// # Errors
/// The file's.
pub fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match File::open(path) {
        Ok(mut file) => {
            file.read_exact(&mut key)?;
            Ok(key)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            key = rand::random();
            let temporary = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&key)?;
            file.sync_all()?;
            // If two keepers do this at once, the first one's stays.
            let linked = std::fs::hard_link(&temporary, path);
            std::fs::remove_file(&temporary)?;
            match linked {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self::key(path),
                Err(e) => Err(e),
                Ok(()) => Ok(key),
            }
        }
        Err(e) => Err(e),
    }
}

/// Seals and opens what lies in one file.
struct Seal(LessSafeKey);

impl Seal {
    fn new(key: &[u8; 32], salt: [u8; 16]) -> Self {
        let mut material = key.to_vec();
        material.extend_from_slice(&salt);
        let derived = blake3::derive_key("roam parked session v2", &material);
        let unbound = UnboundKey::new(&AES_256_GCM, &derived).expect("the key has 32 bytes");
        Self(LessSafeKey::new(unbound))
    }

    fn nonce(number: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn seal(&self, number: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        self.0
            .seal_in_place_append_tag(Self::nonce(number), Aad::empty(), bytes)
            .map_err(|_| io::Error::other("encryption failed"))
    }

    fn open<'a>(&self, number: u64, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        self.0.open_in_place(Self::nonce(number), Aad::empty(), sealed).ok().map(|plain| &*plain)
    }
}

/// A parked file that is being written, under a temporary name.
pub struct Writer {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    seal: Seal,
    number: u64,
    /// Room for the piece that is being sealed.
    sealed: Vec<u8>,
    /// What the tail will say.
    about: Vec<u8>,
    done: bool,
}

impl Writer {
    /// Begins.
    ///
    /// # Errors
    /// The file's; AlreadyExists if there is such a file.
    pub fn create(path: &Path, key: &[u8; 32]) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let salt: [u8; 16] = rand::random();
        let mut writer = Self {
            file: BufWriter::with_capacity(GATHER, file),
            temporary,
            path: path.into(),
            seal: Seal::new(key, salt),
            number: 0,
            sealed: Vec::new(),
            about: Vec::new(),
            done: false,
        };
        writer.file.write_all(&envelope::header(salt))?;
        Ok(writer)
    }

    /// Brings what was written so far to the disk, so that [`Writer::finish`] has less to wait for.
    ///
    /// # Errors
    /// The file's.
    pub fn settle(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_data()
    }

    /// Finishes: syncs it and gives it its name. Returns its size.
    ///
    /// # Errors
    /// The file's; then there is no file.
    pub fn finish(mut self) -> io::Result<u64> {
        let tail = Tail { chunks: self.number, about: std::mem::take(&mut self.about) };
        let mut bytes = encode_section(&tail).map_err(io::Error::other)?;
        self.seal.seal(TAIL, &mut bytes)?;
        if bytes.len() > MAX_SEALED {
            return Err(io::Error::other("what the session was started with is too long"));
        }
        self.file.write_all(&bytes)?;
        self.file.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.file.flush()?;
        let file = self.file.get_ref();
        file.sync_all()?;
        let size = file.metadata()?.len();
        // A link instead of a rename: never over a file that came there meanwhile.
        std::fs::hard_link(&self.temporary, &self.path)?;
        std::fs::remove_file(&self.temporary)?;
        self.done = true;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(size)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl ItemSink for Writer {
    fn put(&mut self, item: ItemRef<'_>) -> io::Result<()> {
        if let ItemRef::Bytes { part: Part::About, bytes, .. } = item {
            self.about.extend_from_slice(bytes);
            return Ok(());
        }
        self.sealed.clear();
        append_section(&item, &mut self.sealed).map_err(io::Error::other)?;
        self.seal.seal(self.number, &mut self.sealed)?;
        self.number += 1;
        self.file.write_all(&(self.sealed.len() as u32).to_le_bytes())?;
        self.file.write_all(&self.sealed)
    }
}

/// Pieces of a parked file that were opened together: one at a time would wake whoever waits for them too often. Their
/// bytes stay where they were opened; used again, it needs no new memory.
#[derive(Default)]
pub struct Batch {
    room: Vec<u8>,
    pieces: Vec<Range<usize>>,
}

impl Batch {
    /// The pieces, in their order.
    ///
    /// # Errors
    /// InvalidData for one that does not decode.
    pub fn items(&self) -> impl Iterator<Item = io::Result<ItemRef<'_>>> {
        self.pieces
            .iter()
            .map(|piece| decode_section(&self.room[piece.clone()]).map_err(|e| broken(e.into())))
    }
}

/// A parked file that is being read.
pub struct Reader {
    file: BufReader<File>,
    seal: Seal,
    tail: Tail,
    number: u64,
}

fn broken(error: EnvelopeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// As many bytes as there is room for; the file must have them.
fn exactly(file: &mut impl Read, room: &mut [u8], missing: EnvelopeError) -> io::Result<()> {
    file.read_exact(room).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => broken(missing),
        _ => e,
    })
}

impl Reader {
    /// Opens one.
    ///
    /// # Errors
    /// The file's; InvalidData with a reason if it is none.
    pub fn open(path: &Path, key: &[u8; 32]) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(GATHER, File::open(path)?);
        let mut header = [0; HEADER_LEN];
        exactly(&mut file, &mut header, EnvelopeError::Foreign)?;
        let salt = envelope::parse_header(&header).map_err(broken)?;
        let seal = Seal::new(key, salt);
        let tail = Self::tail(&mut file, &seal)?;
        file.seek(SeekFrom::Start(HEADER_LEN as u64))?;
        Ok(Self { file, seal, tail, number: 0 })
    }

    fn tail(file: &mut BufReader<File>, seal: &Seal) -> io::Result<Tail> {
        let not_ours = || broken(EnvelopeError::NotOurs);
        let size = file.get_ref().metadata()?.len();
        let room = size.saturating_sub(HEADER_LEN as u64);
        let mut len = [0; 4];
        if room < 4 {
            return Err(broken(EnvelopeError::Truncated));
        }
        file.seek(SeekFrom::Start(size - 4))?;
        exactly(file, &mut len, EnvelopeError::Truncated)?;
        let len = envelope::sealed_len(len).map_err(|_| not_ours())?;
        if len as u64 + 4 > room {
            return Err(not_ours());
        }
        file.seek(SeekFrom::Start(size - 4 - len as u64))?;
        let mut sealed = vec![0; len];
        exactly(file, &mut sealed, EnvelopeError::Truncated)?;
        let plain = seal.open(TAIL, &mut sealed).ok_or_else(not_ours)?;
        decode_section(plain).map_err(|e| broken(e.into()))
    }

    /// What must be known before the first piece, as [`Part::About`].
    #[must_use]
    pub fn about(&self) -> &[u8] {
        &self.tail.about
    }

    /// Puts the next pieces into a batch: at least one, until they have `enough` bytes. False at the proper end.
    ///
    /// # Errors
    /// InvalidData with a reason.
    pub fn fill(&mut self, batch: &mut Batch, enough: usize) -> io::Result<bool> {
        batch.pieces.clear();
        let mut used = 0;
        while used < enough && self.number < self.tail.chunks {
            let mut len = [0; 4];
            exactly(&mut self.file, &mut len, EnvelopeError::Truncated)?;
            let end = used + envelope::sealed_len(len).map_err(broken)?;
            if batch.room.len() < end {
                batch.room.resize(end, 0);
            }
            let sealed = &mut batch.room[used..end];
            exactly(&mut self.file, sealed, EnvelopeError::Truncated)?;
            let plain = self.seal.open(self.number, sealed).ok_or_else(|| broken(EnvelopeError::Damaged))?;
            batch.pieces.push(used..used + plain.len());
            self.number += 1;
            used = end;
        }
        Ok(!batch.pieces.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_api::migration::{Item, MAX_PIECE, Place};

    fn items() -> Vec<Item> {
        let part = |part, bytes: &[u8]| Item::Bytes { part, last: true, bytes: bytes.to_vec() };
        let mut list = vec![part(Part::About, b"who"), part(Part::Log, b"printed")];
        for n in 0..3u8 {
            let bytes = vec![n; MAX_PIECE];
            list.push(Item::Pages { place: Place::Process(2), address: 0, bytes });
        }
        list
    }

    fn read(path: &Path, key: &[u8; 32]) -> io::Result<Vec<Item>> {
        let mut reader = Reader::open(path, key)?;
        let mut list = vec![Item::Bytes { part: Part::About, last: true, bytes: reader.about().to_vec() }];
        let mut batch = Batch::default();
        while reader.fill(&mut batch, MAX_PIECE)? {
            for item in batch.items() {
                list.push(item?.into());
            }
        }
        Ok(list)
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let key = key(&dir.path().join("key")).unwrap();
        assert_eq!(self::key(&dir.path().join("key")).unwrap(), key);
        let path = dir.path().join("file");
        let mut writer = Writer::create(&path, &key).unwrap();
        for item in items() {
            writer.put(item.borrow()).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(read(&path, &key).unwrap(), items());
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
        assert!(Writer::create(&path, &key).is_err(), "an existing file is not replaced");
        assert!(read(&path, &[1; 32]).unwrap_err().to_string().contains("another user or machine"));

        let whole = std::fs::read(&path).unwrap();
        assert!(!whole.windows(7).any(|w| w == b"printed"), "it is encrypted");
        let cut_chunk = {
            let len = u32::from_le_bytes(whole[HEADER_LEN..HEADER_LEN + 4].try_into().unwrap()) as usize;
            HEADER_LEN + 4 + len
        };
        let without_first = [&whole[..HEADER_LEN], &whole[cut_chunk..]].concat();
        std::fs::write(&path, without_first).unwrap();
        assert!(read(&path, &key).is_err(), "a chunk is missing");
        for cut in [0, 5, HEADER_LEN, HEADER_LEN + 2, cut_chunk, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path, &key).unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(whole.len() / 50) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&path, &key).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&dir.path().join("file"), &[0; 32]).unwrap();
        writer.put(items()[0].borrow()).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
