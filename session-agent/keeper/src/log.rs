//! What the session's programs print: a bounded file, and everybody who follows it.
//!
//! `STATE/sessions/ID/log` holds records of stream, length and bytes. At [`LIMIT`] it becomes `log.1`
//! (replacing the one before) and a new one begins, so at most twice that is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Bytes after which a new file begins.
pub const LIMIT: u64 = 2 << 20;
const HEAD: usize = 5;
/// The longest record: what is read from a pipe at once.
const MAX_RECORD: usize = 64 << 10;

/// The log of one session.
pub struct OutputLog {
    path: PathBuf,
    state: Mutex<State>,
    /// Counts appended records and ends with `None` when no more will come.
    changed: watch::Sender<Option<u64>>,
}

struct State {
    file: File,
    len: u64,
    rotation: u64,
}

impl OutputLog {
    /// Opens or makes the log at this path.
    ///
    /// # Errors
    /// The file's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = append_to(path)?;
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        let mut good = 0;
        while let Some((_, body)) = record(&bytes[good..]) {
            good += HEAD + body.len();
        }
        file.set_len(good as u64)?;
        file.seek(io::SeekFrom::End(0))?;
        let state = Mutex::new(State { file, len: good as u64, rotation: 1 });
        Ok(Self { path: path.into(), state, changed: watch::channel(Some(0)).0 })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what stream 1 or 2 said.
    ///
    /// # Errors
    /// The file's; the bytes are lost then.
    pub fn append(&self, stream: u8, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        self.append_locked(&mut state, stream, bytes)?;
        drop(state);
        self.changed.send_modify(|count| *count = count.map(|n| n + 1));
        Ok(())
    }

    fn append_locked(&self, state: &mut State, stream: u8, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_RECORD) {
            let mut out = Vec::with_capacity(HEAD + piece.len());
            out.push(stream);
            out.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            out.extend_from_slice(piece);
            if state.len > 0 && state.len + out.len() as u64 > LIMIT {
                std::fs::rename(&self.path, self.older())?;
                state.file = append_to(&self.path)?;
                state.len = 0;
                state.rotation += 1;
            }
            state.file.write_all(&out)?;
            state.len += out.len() as u64;
        }
        Ok(())
    }

    /// Appends what this reads, in one step: whoever holds the log still (see [`OutputLog::still`]) never
    /// misses bytes that were read and not yet written.
    ///
    /// # Errors
    /// The reader's. Bytes that can't be written are lost, with a word in the keeper's own log.
    pub fn append_read(&self, stream: u8, read: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<usize> {
        let mut state = self.lock();
        let bytes = read()?;
        if let Err(error) = self.append_locked(&mut state, stream, &bytes) {
            // The program must not hang because the disk is full: its output is lost instead.
            tracing::error!(%error, "the session's output could not be written");
        }
        drop(state);
        self.changed.send_modify(|count| *count = count.map(|n| n + 1));
        Ok(bytes.len())
    }

    /// Runs this while nobody appends.
    pub fn still<T>(&self, look: impl FnOnce() -> T) -> T {
        let _state = self.lock();
        look()
    }

    /// True if nothing was ever printed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.len == 0 && !self.older().exists()
    }

    /// No more will come: followers end.
    pub fn close(&self) {
        self.changed.send_replace(None);
    }

    /// Everything kept, as it lies in the files; for [`OutputLog::preload`] at another machine.
    ///
    /// # Errors
    /// The files'.
    pub fn contents(&self) -> io::Result<Vec<u8>> {
        let _state = self.lock();
        let mut bytes = std::fs::read(self.older()).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(e),
        })?;
        File::open(&self.path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Puts what another machine's log held before everything else. Damaged records end it.
    ///
    /// # Errors
    /// The file's.
    pub fn preload(&self, contents: &[u8]) -> io::Result<()> {
        let mut rest = contents;
        while let Some((stream, body)) = record(rest) {
            self.append(stream, body)?;
            rest = &rest[HEAD + body.len()..];
        }
        Ok(())
    }

    /// A reader from the oldest byte kept.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { log: self, open: None, bytes: Vec::new(), changed: self.changed.subscribe() }
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("1")
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The record that these bytes begin with, if it is whole.
fn record(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let head = bytes.first_chunk::<HEAD>()?;
    let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > MAX_RECORD || !(1..=2).contains(&head[0]) {
        return None;
    }
    Some((head[0], bytes[HEAD..].get(..len)?))
}

/// Reads a log record by record, across its files, and waits for more.
pub struct Reader<'a> {
    log: &'a OutputLog,
    open: Option<(u64, File)>,
    bytes: Vec<u8>,
    changed: watch::Receiver<Option<u64>>,
}

impl Reader<'_> {
    /// The next record that is there already.
    ///
    /// # Errors
    /// The files'.
    pub fn next_record(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some((stream, body)) = record(&self.bytes) {
                let found = (stream, body.to_vec());
                self.bytes.drain(..HEAD + found.1.len());
                return Ok(Some(found));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is more. False: no more will come.
    pub async fn wait(&mut self) -> bool {
        if self.changed.borrow_and_update().is_none() {
            return false;
        }
        // Something may have come before the mark was taken.
        match self.next_is_there() {
            true => true,
            false => self.changed.changed().await.is_ok(),
        }
    }

    fn next_is_there(&mut self) -> bool {
        record(&self.bytes).is_some() || self.fill().unwrap_or(false)
    }

    /// Reads on; false if there is nothing new.
    fn fill(&mut self) -> io::Result<bool> {
        let state = self.log.lock();
        let newest = state.rotation;
        if self.open.is_none() {
            self.open = Some(match File::open(self.log.older()) {
                Ok(file) => (newest - 1, file),
                Err(_) => (newest, File::open(&self.log.path)?),
            });
        }
        let Some((rotation, file)) = &mut self.open else { return Ok(false) };
        let mut chunk = vec![0; MAX_RECORD];
        let n = file.read(&mut chunk)?;
        if n > 0 {
            self.bytes.extend_from_slice(&chunk[..n]);
            return Ok(true);
        }
        if *rotation >= newest {
            return Ok(false);
        }
        // This file is done. A reader that fell further behind goes on with the oldest that is kept.
        self.bytes.clear();
        *file =
            if *rotation + 1 == newest { File::open(&self.log.path)? } else { File::open(self.log.older())? };
        *rotation = if *rotation + 1 == newest { newest } else { newest - 1 };
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut Reader<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((_, piece)) = reader.next_record().unwrap() {
            bytes.extend(piece);
        }
        bytes
    }

    #[test]
    fn it_is_bounded_and_readers_cross_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = OutputLog::open(&dir.path().join("log")).unwrap();
        let mut early = log.reader();
        let line = [b'x'; 60_000];
        let mut read = 0;
        for _ in 0..100 {
            log.append(1, &line).unwrap();
            read += all(&mut early).len();
        }
        assert_eq!(read, 6_000_000);
        let kept = all(&mut log.reader()).len() as u64;
        assert!((LIMIT / 2..2 * LIMIT).contains(&kept), "{kept}");
    }

    #[test]
    fn a_torn_tail_is_cut_and_the_rest_travels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = OutputLog::open(&path).unwrap();
        log.append(1, b"out").unwrap();
        log.append(2, b"err").unwrap();
        drop(log);
        append_to(&path).unwrap().write_all(&[1, 200, 0, 0, 0, b'x']).unwrap();
        let log = OutputLog::open(&path).unwrap();
        log.append(1, b"more").unwrap();
        let there = OutputLog::open(&dir.path().join("there")).unwrap();
        there.preload(&log.contents().unwrap()).unwrap();
        let mut reader = there.reader();
        assert_eq!(reader.next_record().unwrap(), Some((1, b"out".to_vec())));
        assert_eq!(reader.next_record().unwrap(), Some((2, b"err".to_vec())));
        assert_eq!(reader.next_record().unwrap(), Some((1, b"more".to_vec())));
        assert_eq!(reader.next_record().unwrap(), None);
    }

    #[tokio::test]
    async fn followers_end_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = OutputLog::open(&dir.path().join("log")).unwrap();
        let mut reader = log.reader();
        log.append(2, b"late").unwrap();
        assert!(reader.wait().await);
        assert_eq!(reader.next_record().unwrap(), Some((2, b"late".to_vec())));
        log.close();
        assert!(!reader.wait().await);
    }
}
