//! Pipes and FIFOs: content, size, packet mode, and whichever ends are open.
//!
//! The content is copied by tee(2), which leaves it where it is. The state of a pipe lies with the
//! first of its open ends; the others refer to it. Named ones are opened by their path; deleted ones get
//! a name for a moment.

use std::os::fd::{AsFd, OwnedFd};

use roam_sys::batch::{Arg, Batch};
use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::{Build, PIECE, place};
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use super::paths;
use crate::error::Error;

/// An open end of a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The first of its pipe, which carries what all share.
    First(Shared),
    /// Another end of the pipe of this one.
    Other(FileId),
}

/// What all ends of a pipe share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Where a FIFO lies.
    pub path: Option<Vec<u8>>,
    /// The FIFO was deleted, and had these permission bits.
    pub deleted: Option<u32>,
    /// F_GETPIPE_SZ.
    pub size: i32,
    /// What was written and not read; in packet mode one piece for each packet.
    pub content: Vec<Vec<u8>>,
    /// O_DIRECT: each write is a packet.
    pub packets: bool,
}

/// The kernel's O_LARGEFILE, which open(2) always sets and pipe2(2) does not; libc calls it 0.
const OPENED: i32 = 0o100_000;

const FIFO_REMEDY: &str = "Close the FIFO in the program, then try again.";

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.file_type() == libc::S_IFIFO && !look.is_place()
    }

    fn check(look: &Look, known: &Known<'_>) -> Result<(), Stop> {
        if look.link().starts_with(b"pipe:") || paths::deleted(look).is_some() {
            return Ok(());
        }
        paths::locate(look, known, FIFO_REMEDY).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let me = at.known.id(look).ok_or_else(paths::lost)?;
        if let Some(first) = at.first_of(look.inode(), me) {
            return Ok(Self::Other(first));
        }
        let path = match look.link() {
            link if link.starts_with(b"pipe:") => None,
            _ if paths::deleted(look).is_some() => paths::deleted(look).map(<[u8]>::to_vec),
            _ => Some(paths::locate(look, &at.known, FIFO_REMEDY)?),
        };
        let failed = |e| Error::system("copying the content of a pipe", e);
        let ends = at.known.of_inode(look.inode());
        let packets = ends.iter().any(|&id| at.known.look(id).info.flags & libc::O_DIRECT != 0);
        let size = descriptor::fcntl(look.file.as_fd(), libc::F_GETPIPE_SZ, 0).map_err(failed)?;
        let content = content(look, size, packets, at).map_err(failed)?;
        let deleted = paths::deleted(look).map(|_| look.stat.st_mode & 0o7777);
        Ok(Self::First(Shared { path, deleted, size, content, packets }))
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let first = match self {
            Self::First(shared) => {
                shared.make(id, at)?;
                id
            }
            Self::Other(first) => *first,
        };
        let anchors = at.anchor(first)?;
        let flags = at.file(id)?.flags;
        let slot = at.slot(id);
        let (index, access) = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => (0, libc::O_RDONLY),
            access => (1, access),
        };
        // An end as pipe2 made it is told by the flag that open(2) adds.
        if flags & OPENED == 0 && access != libc::O_RDWR && at.take_anchor(first, index) {
            let dup = [anchors[index].into(), slot.into(), libc::O_CLOEXEC.into()];
            at.batch(0)?.must("placing a pipe", libc::SYS_dup3, &dup);
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", anchors[index]);
        at.open(path.as_bytes(), access | libc::O_NONBLOCK, 0, slot)
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Copies what is in the pipe.
fn content(look: &Look, size: i32, packets: bool, at: &mut Capture<'_>) -> std::io::Result<Vec<Vec<u8>>> {
    if look.info.flags & libc::O_PATH != 0 || descriptor::readable(look.file.as_fd())? == 0 {
        return Ok(Vec::new());
    }
    let own: Option<OwnedFd> = match look.reads() {
        true => None,
        false => Some(descriptor::reopen(look.file.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK)?),
    };
    let from = own.as_ref().unwrap_or(&look.file);
    let (copy, into) = at.scratch_pipe(size)?;
    let mut rest = descriptor::tee(from.as_fd(), into, size as usize)?;
    let mut pieces = Vec::new();
    let mut buffer = vec![0; rest];
    while rest > 0 {
        let n = descriptor::read(copy, &mut buffer)?;
        rest = rest.saturating_sub(n.max(1));
        match pieces.last_mut() {
            Some(last) if !packets => Vec::extend_from_slice(last, &buffer[..n]),
            _ => pieces.push(buffer[..n].to_vec()),
        }
    }
    Ok(pieces)
}

impl Shared {
    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        let ends = [at.extra_slot()?, at.extra_slot()?];
        let packets = if self.packets { libc::O_DIRECT } else { 0 };
        if let Some(path) = &self.path {
            // Both ends in one, so that nothing waits for the other side.
            let flags = libc::O_RDWR | libc::O_NONBLOCK | packets;
            match self.deleted {
                None => at.open(path, flags, 0, ends[0])?,
                Some(mode) => paths::make_nameless(id, path, at, |batch, path| {
                    let fifo = [path.into(), (libc::S_IFIFO | 0o600).into(), 0u32.into()];
                    batch.must("making a FIFO", libc::SYS_mknod, &fifo);
                    let flags = flags | libc::O_CLOEXEC;
                    let open = [libc::AT_FDCWD.into(), path.into(), flags.into(), 0u32.into()];
                    let fd = batch.must("opening a FIFO", libc::SYS_openat, &open);
                    place(batch, fd, ends[0]);
                    batch.must("setting permissions", libc::SYS_chmod, &[path.into(), mode.into()]);
                    batch.must("deleting a FIFO", libc::SYS_unlink, &[path.into()]);
                })?,
            }
            let dup = [ends[0].into(), ends[1].into(), libc::O_CLOEXEC.into()];
            at.batch(0)?.must("placing a FIFO", libc::SYS_dup3, &dup);
        } else {
            let batch = at.batch(8)?;
            let pair = batch.room(8);
            let flags = libc::O_NONBLOCK | packets;
            batch.must("pipe2", libc::SYS_pipe2, &[pair.into(), flags.into()]);
            at.place(Arg::Load32(pair), ends[0]);
            at.place(Arg::Load32(pair.skip(4)), ends[1]);
        }
        // A FIFO of a folder that both machines see may have the content still.
        let filled = self.path.is_some() && self.deleted.is_none() && is_filled(ends[0], at)?;
        let size = [ends[1].into(), libc::F_SETPIPE_SZ.into(), self.size.into()];
        at.batch(0)?.must("sizing a pipe", libc::SYS_fcntl, &size);
        let content = if filled { &[] } else { &self.content[..] };
        for piece in content.iter().flat_map(|p| p.chunks(PIECE)) {
            let batch = at.batch(piece.len())?;
            let data = batch.data(piece);
            let write = [ends[1].into(), data.into(), piece.len().into()];
            batch.must("filling a pipe", libc::SYS_write, &write);
        }
        at.set_anchor(id, ends);
        Ok(())
    }
}

fn is_filled(slot: i32, at: &mut Build<'_>) -> Result<bool, Error> {
    let mut batch = Batch::new();
    let count = batch.room(4);
    let args = [slot.into(), libc::FIONREAD.into(), count.into()];
    batch.must("asking what is in a FIFO", libc::SYS_ioctl, &args);
    Ok(at.run(None, &batch)?.u32(count) > 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use super::*;
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe, pipe2};

    #[test]
    fn content_size_and_ends_come_back() {
        let (r, w) = pipe().unwrap();
        descriptor::fcntl(w.as_fd(), libc::F_SETPIPE_SZ, 1 << 20).unwrap();
        let long: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        assert_eq!(descriptor::write(w.as_fd(), &long).unwrap(), long.len());
        let again = descriptor::reopen(r.as_fd(), libc::O_RDONLY).unwrap();
        let mut session = Session::of(&[w.as_fd(), r.as_fd(), again.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(1, 100_000), &long[..100_000]);
        assert_eq!(session.read(2, 100_000), &long[100_000..]);
        // The source has it all still.
        assert_eq!(descriptor::readable(r.as_fd()).unwrap(), long.len());
    }

    #[test]
    fn packets_keep_their_borders() {
        let (r, w) = pipe2(OFlag::O_DIRECT).unwrap();
        for packet in [&b"one"[..], b"three", b"2"] {
            descriptor::write(w.as_fd(), packet).unwrap();
        }
        let mut session = Session::of(&[r.as_fd(), w.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 100), b"one");
        assert_eq!(session.read(0, 100), b"three");
        assert_eq!(session.read(0, 100), b"2");
    }

    #[test]
    fn a_pipe_without_writer_ends_after_its_content() {
        let (r, w) = pipe().unwrap();
        descriptor::write(w.as_fd(), b"last").unwrap();
        drop(w);
        let mut session = Session::of(&[r.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 10), b"last");
        assert_eq!(session.read(0, 10), b"");
    }

    #[test]
    fn a_fifo_is_the_one_at_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        descriptor::write(both.as_fd(), b"queued").unwrap();
        let mut session = Session::of(&[both.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 3), b"que");
    }
}
