//! Frames with descriptors on a blocking unix socket.
//!
//! Exactly one frame is read at a time and not a byte more, so the descriptors that come along
//! belong to that frame.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use roam_api::codec::{HEADER_LEN, decode_body, encode_frame, parse_header};
use roam_sys::fdpass;
use serde::{Serialize, de::DeserializeOwned};

fn invalid(error: roam_api::codec::CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Sends one message with its descriptors.
///
/// # Errors
/// The socket's, or a message that is too large.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let frame = encode_frame(message).map_err(invalid)?;
    let mut sent = 0;
    while sent < frame.len() {
        let now = if sent == 0 { descriptors } else { &[] };
        match fdpass::send(socket.as_fd(), &frame[sent..], now) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Receives one message with its descriptors.
///
/// # Errors
/// The socket's; UnexpectedEof at the end; InvalidData for garbage.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut partial = Partial::default();
    loop {
        match partial.advance(socket.as_fd()) {
            Ok(Some((body, descriptors))) => return Ok((decode_body(&body).map_err(invalid)?, descriptors)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A frame that is still coming in.
#[derive(Default)]
pub struct Partial {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Partial {
    /// Takes what there is with one system call. Returns a whole frame's body and descriptors once
    /// it is complete.
    ///
    /// # Errors
    /// The socket's (WouldBlock included); UnexpectedEof at the end; InvalidData for garbage.
    pub fn advance(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let wanted = self.wanted()?;
        if wanted > 0 {
            let mut chunk = vec![0; wanted.min(64 << 10)];
            let n = fdpass::receive(socket, &mut chunk, &mut self.descriptors)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&chunk[..n]);
        }
        if self.bytes.len() < HEADER_LEN || self.wanted()? > 0 {
            return Ok(None);
        }
        let body = self.bytes.split_off(HEADER_LEN);
        self.bytes.clear();
        Ok(Some((body, std::mem::take(&mut self.descriptors))))
    }

    fn wanted(&self) -> io::Result<usize> {
        let Some(header) = self.bytes.first_chunk::<HEADER_LEN>() else {
            return Ok(HEADER_LEN - self.bytes.len());
        };
        let header = parse_header(*header).map_err(invalid)?;
        Ok(HEADER_LEN + header.len - self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn frames_keep_their_descriptors() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&here, &"one", &[file.as_fd()]).unwrap();
        send(&here, &"two", &[]).unwrap();
        let (text, fds) = receive::<String>(&there).unwrap();
        assert_eq!((text.as_str(), fds.len()), ("one", 1));
        let (text, fds) = receive::<String>(&there).unwrap();
        assert_eq!((text.as_str(), fds.len()), ("two", 0));
    }

    #[test]
    fn garbage_and_the_end_are_errors() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(&[0xff; 64]).unwrap();
        assert_eq!(receive::<String>(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (here, there) = UnixStream::pair().unwrap();
        drop(here);
        assert_eq!(receive::<String>(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
