//! The file that a parked session sleeps in: encrypted pieces, written whole or not at all.
//!
//! The outer form is `roam_api::envelope`. The key lies in the user's state folder and belongs to this
//! machine; each file has a key derived from it and a salt of its own. The nonce of a chunk is its number
//! and whether it is the last, so chunks can't be moved, dropped or appended unnoticed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use roam_api::envelope::{self, EnvelopeError, HEADER_LEN, SECTION_HEAD};
use roam_api::migration::Item;

use crate::bundle::ItemSink;

/// Plain bytes in one chunk.
const CHUNK: usize = 256 << 10;
const TAG: usize = 16;

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

fn cipher(key: &[u8; 32], salt: &[u8; 16]) -> ChaCha20Poly1305 {
    let mut material = key.to_vec();
    material.extend_from_slice(salt);
    let derived = blake3::derive_key("roam parked session v1", &material);
    ChaCha20Poly1305::new(Key::from_slice(&derived))
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[11] = u8::from(last);
    *Nonce::from_slice(&bytes)
}

/// A parked file that is being written, under a temporary name.
pub struct Writer {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    cipher: ChaCha20Poly1305,
    chunk: Vec<u8>,
    number: u64,
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
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let salt: [u8; 16] = rand::random();
        let written = file.write_all(&envelope::header(salt));
        let writer = Self {
            file,
            temporary,
            path: path.into(),
            cipher: cipher(key, &salt),
            chunk: Vec::with_capacity(CHUNK),
            number: 0,
            done: false,
        };
        written.map(|()| writer)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK {
                self.flush(false)?;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    fn flush(&mut self, last: bool) -> io::Result<()> {
        let sealed = self
            .cipher
            .encrypt(&nonce(self.number, last), self.chunk.as_slice())
            .map_err(|_| io::Error::other("encryption failed"))?;
        self.file.write_all(&(sealed.len() as u32).to_le_bytes())?;
        self.file.write_all(&sealed)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }

    /// Finishes: syncs it and gives it its name. Returns its size.
    ///
    /// # Errors
    /// The file's; then there is no file.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush(true)?;
        self.file.sync_all()?;
        let size = self.file.metadata()?.len();
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
    fn put(&mut self, item: Item) -> io::Result<()> {
        let bytes = envelope::section(&item).map_err(io::Error::other)?;
        self.write(&bytes)
    }
}

/// A parked file that is being read.
pub struct Reader {
    file: BufReader<File>,
    cipher: ChaCha20Poly1305,
    chunk: io::Cursor<Vec<u8>>,
    number: u64,
    last: bool,
}

fn broken(error: EnvelopeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Reader {
    /// Opens one.
    ///
    /// # Errors
    /// The file's; InvalidData with a reason if it is none.
    pub fn open(path: &Path, key: &[u8; 32]) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut header = [0; HEADER_LEN];
        file.read_exact(&mut header).map_err(|_| broken(EnvelopeError::Foreign))?;
        let salt = envelope::parse_header(&header).map_err(broken)?;
        let cipher = cipher(key, &salt);
        Ok(Self { file, cipher, chunk: io::Cursor::new(Vec::new()), number: 0, last: false })
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut len = [0; 4];
        self.file.read_exact(&mut len).map_err(|_| broken(EnvelopeError::Truncated))?;
        let len = u32::from_le_bytes(len) as usize;
        if !(TAG..=CHUNK + TAG).contains(&len) {
            return Err(broken(EnvelopeError::Damaged));
        }
        let mut sealed = vec![0; len];
        self.file.read_exact(&mut sealed).map_err(|_| broken(EnvelopeError::Truncated))?;
        let open = |last| self.cipher.decrypt(&nonce(self.number, last), sealed.as_slice()).ok();
        let plain = match open(false) {
            Some(plain) => plain,
            None => {
                self.last = true;
                // The first chunk of an intact file that doesn't open was encrypted with another key.
                let why = "it is damaged, or was put to sleep by another user or machine";
                open(true).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, why))?
            }
        };
        self.number += 1;
        self.chunk = io::Cursor::new(plain);
        Ok(())
    }

    fn fill(&mut self, mut room: &mut [u8]) -> io::Result<()> {
        while !room.is_empty() {
            match self.chunk.read(room)? {
                0 if self.last => return Err(broken(EnvelopeError::Truncated)),
                0 => self.refill()?,
                n => room = &mut room[n..],
            }
        }
        Ok(())
    }

    /// The next piece; none at the proper end.
    ///
    /// # Errors
    /// InvalidData with a reason.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        while self.chunk.position() == self.chunk.get_ref().len() as u64 {
            if self.last {
                return Ok(None);
            }
            self.refill()?;
        }
        let mut head = [0; SECTION_HEAD];
        self.fill(&mut head)?;
        let mut body = vec![0; envelope::section_len(&head).map_err(broken)?];
        self.fill(&mut body)?;
        envelope::parse_section(&head, &body).map(Some).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_api::migration::{Part, Place};

    fn items() -> Vec<Item> {
        let mut list = vec![Item::Bytes { part: Part::Log, last: true, bytes: b"printed".to_vec() }];
        for n in 0..3u8 {
            let bytes = vec![n; CHUNK - 100];
            list.push(Item::Pages { place: Place::Process(2), address: 0, bytes });
        }
        list
    }

    fn read(path: &Path, key: &[u8; 32]) -> io::Result<Vec<Item>> {
        let mut reader = Reader::open(path, key)?;
        let mut list = Vec::new();
        while let Some(item) = reader.next_item()? {
            list.push(item);
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
            writer.put(item).unwrap();
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
        for cut in [0, 5, HEADER_LEN, HEADER_LEN + 2, cut_chunk, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(read(&path, &key).unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(whole.len() / 50) {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            // (Two bytes of the header carry the salt or nothing that matters before it fails.)
            assert!(read(&path, &key).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&dir.path().join("file"), &[0; 32]).unwrap();
        writer.put(items().remove(0)).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
